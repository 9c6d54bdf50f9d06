// Two live cameras, each chosen by name, and one frame of each at nearly the same moment.

export async function listCameras() {
  // Names are shown only after leave was given.
  const leave = await navigator.mediaDevices.getUserMedia({ video: true });
  for (const track of leave.getTracks()) track.stop();
  return (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
}

export async function showCamera(video, deviceId, size) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  const wanted = { deviceId: { exact: deviceId } };
  if (size) Object.assign(wanted, { width: { ideal: size[0] }, height: { ideal: size[1] } });
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted });
  await video.play();
}

export function stopCameras(...videos) {
  for (const video of videos) {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  }
}

export async function grab(videos, sizes) {
  // Both are drawn before either is encoded, which takes longer than a frame.
  const canvases = videos.map((video, index) => {
    const [width, height] = sizes?.[index] ?? [video.videoWidth, video.videoHeight];
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(video, 0, 0, width, height);
    return canvas;
  });
  return Promise.all(canvases.map((canvas) => canvas.convertToBlob({ type: "image/png" })));
}
