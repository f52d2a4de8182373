"""The configuration of an online application: frozen values, strict at the door.

    app      AppConfig, the whole           models      one model, its gangs and their number
    keeping  how long jobs stay             serve_file  a Serve configuration file as a whole
    faults   what is wrong, in words

What requests may ask for stands where that is checked: `deployments.api.settings`, `deployments.inputs.settings`.
Examples of Serve files lie beside these modules.
"""

from __future__ import annotations

from deployments.config.app import AppConfig, DispatcherConfig, ServersConfig, SharingConfig
from deployments.config.keeping import RetentionConfig
from deployments.config.models import ModelConfig, ScalingConfig

__all__ = [
    "AppConfig",
    "DispatcherConfig",
    "ModelConfig",
    "RetentionConfig",
    "ScalingConfig",
    "ServersConfig",
    "SharingConfig",
]
