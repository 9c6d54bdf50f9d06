"""Live pairs: judged one by one, fused into decisions, recorded, and watched for a rig that moved."""
