"""Manifests and the crops cut from them."""
