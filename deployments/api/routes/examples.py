"""One video, key, queue ... as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

VIDEO: dict[str, Any] = {
    "id": "video_01kaxq3v5zk7g2m9c4d8e6f0ah",
    "object": "video",
    "model": "nano",
    "prompt": "a red circle moving right on a black background",
    "status": "in_progress",
    "progress": 45,
    "created_at": 1795496400,
    "completed_at": None,
    "expires_at": None,
    "error": None,
    "seconds": "2.125",
    "size": "64x64",
    "remixed_from_video_id": None,
    "width": 64,
    "height": 64,
    "num_frames": 17,
    "fps": 8,
    "num_inference_steps": 20,
    "guidance_scale": 3.0,
    "guidance_low": 3.0,
    "shift": 3.0,
    "solver": "unipc",
    "seed": 7,
    "negative_prompt": "",
    "mode": "text",
    "asked": {"seconds": 2.0},
    "adapters": [],
    "priority": 0,
    "tags": {"scene": "7"},
    "warnings": [],
    "extends": None,
    "from_ledger": False,
    "is_pinned": False,
    "ttl": None,
    "clip_id": "5d41402abc4b2a76b9719d911017c592",
    "started_at": 1795496401,
    "step": 9,
    "num_steps": 20,
    "preview_step": 8,
    "position": None,
    "wait_s": None,
    "eta_s": 1.4,
    "renderer": "nano#a1b2",
}

VIDEO_LIST: dict[str, Any] = {
    "object": "list",
    "data": [VIDEO],
    "first_id": VIDEO["id"],
    "last_id": VIDEO["id"],
    "has_more": False,
}

CREATE: dict[str, Any] = {
    "prompt": "a red circle moving right on a black background",
    "seconds": "2",
    "size": "64x64",
    "seed": 7,
    "tags": {"scene": "7"},
}

REMIX = {"prompt": "a green circle moving right on a black background"}
EXTEND = {"prompt": "the circle goes on", "seconds": "2"}
EXTENSION = {**EXTEND, "video": {"id": VIDEO["id"]}}
DELETED = {"id": VIDEO["id"], "object": "video.deleted", "deleted": True}
LINK = {
    "url": f"/v1/videos/{VIDEO['id']}/content?variant=video&expires=1795500000&signature=0f",
    "expires_at": 1795500000,
}

MODEL: dict[str, Any] = {
    "id": "nano",
    "object": "model",
    "created": 0,
    "owned_by": "wanfarm",
    "title": "nano, the embedded model of moving shapes",
    "is_default": True,
    "modes": ["text", "image"],
    "unsupported": None,
    "size_multiple": 16,
    "frame_step": 4,
    "sizes": ["64x64"],
    "defaults": {
        "size": "64x64",
        "width": 64,
        "height": 64,
        "num_frames": 17,
        "fps": 8,
        "seconds": 2.125,
        "num_inference_steps": 20,
        "guidance_scale": 3.0,
        "guidance_low": 3.0,
        "shift": 3.0,
        "solver": "unipc",
        "negative_prompt": "",
    },
    "limits": {
        "max_width": 96,
        "max_height": 96,
        "max_pixels": 6144,
        "max_frames": 25,
        "max_seconds": 3.0,
        "max_steps": 1000,
        "max_fps": 120,
        "min_guidance_scale": 0.0,
        "max_guidance_scale": 100.0,
        "max_prompt_bytes": 8192,
    },
    "advice": {"min_guidance": 1.5, "max_guidance": 8.0, "min_steps": 8, "stable_seconds": 2.0},
    "solvers": ["unipc", "euler"],
    "adapters": [],
}
MODEL_LIST = {"object": "list", "data": [MODEL]}

QUEUE: dict[str, Any] = {
    "object": "queue",
    "dispatcher": "up",
    "paused": None,
    "models": [
        {
            "model": "nano",
            "num_queued": 3,
            "num_running": 1,
            "num_renderers": 1,
            "backlog_seconds": 9.5,
            "backlog_device_seconds": 9.5,
            "clips_per_minute": 22.0,
            "wait_s": 9.5,
        }
    ],
    "renderers": [
        {"name": "nano#a1b2", "model": "nano", "state": "busy", "job_id": VIDEO["id"], "step": 9, "num_steps": 20}
    ],
}

RUN: dict[str, Any] = {
    "run_id": "9b2e4d7c01aa",
    "object": "run",
    "model": "nano",
    "manifest_uri": "examples/prompts.parquet",
    "status": "running",
    "stop": None,
    "started_at": 1795496000,
    "finished_at": None,
    "num_rows": 24,
    "num_clips": 24,
    "num_done": 10,
    "num_failed": 0,
    "num_rejected": 0,
    "clips_per_minute": 30.0,
    "eta_s": 28.0,
    "device_seconds": 20.0,
    "cost": 0.0002,
    "currency": "USD",
    "report_uri": None,
}
RUN_LIST = {"object": "list", "data": [RUN], "has_more": False}

KEY_CREATE = {
    "name": "studio",
    "project": "studio",
    "scopes": ["submit", "read"],
    "limits": {"max_open_jobs": 100, "weight": 2.0},
    "expires_at": 1827032400,
}
KEY: dict[str, Any] = {
    "id": "key_7f3a9c",
    "object": "key",
    "name": "studio",
    "project": "studio",
    "scopes": ["submit", "read"],
    "created_at": 1795496400,
    "expires_at": 1827032400,
    "revoked_at": None,
    "limits": {"max_open_jobs": 100, "weight": 2.0},
}
NEW_KEY = {**KEY, "key": "wf_example-of-a-key"}
KEY_LIST = {"object": "list", "data": [KEY]}

SESSION: dict[str, Any] = {
    "is_key_needed": True,
    "is_signed_in": True,
    "key_name": "studio",
    "project": "studio",
    "scopes": ["submit", "read"],
    "expires_at": 1795539600,
}
