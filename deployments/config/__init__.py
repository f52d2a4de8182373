"""The configuration of an online application: frozen values, strict at the door.

    app      AppConfig, the whole           models      one model, its gangs and their number
    doors    who, how much, from where      serve_file  a Serve configuration file as a whole
    faults   what is wrong, in words

Examples of Serve files lie beside these modules.
"""

from __future__ import annotations

from deployments.config.app import ApiConfig, AppConfig, DispatcherConfig, SharingConfig
from deployments.config.doors import AuthConfig, InputRules, LimitsConfig, RetentionConfig
from deployments.config.models import ModelConfig, ScalingConfig

__all__ = [
    "ApiConfig",
    "AppConfig",
    "AuthConfig",
    "DispatcherConfig",
    "InputRules",
    "LimitsConfig",
    "ModelConfig",
    "RetentionConfig",
    "ScalingConfig",
    "SharingConfig",
]
