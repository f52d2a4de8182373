"""How long a clip takes, and where that time goes."""

from __future__ import annotations

from farm import metrics
from monitoring.expressions import HERE, quantile, rate, ratio
from monitoring.panels import Dashboard, Panel, Query, Row

ONLINE = "only where videos are served"
STAGE_SHARE = ratio(
    rate(metrics.STAGE_WORK, by="stage"), rate(metrics.STAGE_WORK), matching="ignoring (stage) group_left () "
)
FOUND, DENOISE = 'result!="encoded"', 'stage="denoise"'
HIT_RATIO = ratio(rate(metrics.EMBEDDING_CACHE, FOUND), rate(metrics.EMBEDDING_CACHE))
HTTP = f'{HERE},route="/v1/videos",method="POST"'


def http_quantile(q: float) -> str:
    """Of submissions, in seconds; Serve counts milliseconds."""
    buckets = f"rate(ray_serve_http_request_latency_ms_bucket{{{HTTP}}}[$__rate_interval])"
    return f"histogram_quantile({q}, sum by (le) ({buckets})) / 1000"


BOARD = Dashboard(
    uid="wanfarm-latency",
    title="wanfarm / Latency",
    about="How long a clip takes from its start to its record, by stage and step; how long online jobs wait.",
    rows=(
        Row(
            title="Clips",
            panels=(
                Panel(
                    title="A clip, by model",
                    about="From its start in a gang's hands to its record. As exact as the buckets, some 20 %.",
                    unit="s",
                    queries=(
                        Query(expr=quantile(0.5, metrics.CLIP_RENDER_SECONDS, by="model"), legend="{{model}} median"),
                        Query(expr=quantile(0.95, metrics.CLIP_RENDER_SECONDS, by="model"), legend="{{model}} 95 %"),
                    ),
                ),
                Panel(
                    title="Clips by how long they took",
                    about="The stronger the colour, the more of them.",
                    kind="heatmap",
                    unit="s",
                    queries=(
                        Query(
                            expr=f"sum by (le) (rate({metrics.CLIP_RENDER_SECONDS.name}_bucket"
                            f'{{{HERE},model=~"$model"}}[$__rate_interval]))',
                            legend="{{le}}",
                        ),
                    ),
                ),
                Panel(
                    title="Where the time goes",
                    about="Share of each stage in the time of committed clips. Encoding and publishing go on beside "
                    "decoding and the next clip.",
                    unit="percentunit",
                    is_stacked=True,
                    max_value=1,
                    queries=(Query(expr=STAGE_SHARE, legend="{{stage}}"),),
                ),
            ),
        ),
        Row(
            title="Stages and steps",
            panels=(
                Panel(
                    title="Stages, 95 %",
                    about="text is one batch of prompts in the encoder.",
                    unit="s",
                    queries=(Query(expr=quantile(0.95, metrics.STAGE_SECONDS, by="stage"), legend="{{stage}}"),),
                ),
                Panel(
                    title="A denoising step, by shape and degree",
                    about="Median. One shape and degree should keep its time; more means a slow device or a neighbour.",
                    unit="s",
                    queries=(
                        Query(
                            expr=quantile(0.5, metrics.STEP_TIMES, by="model, shape, degree"),
                            legend="{{model}} {{shape}} on {{degree}}",
                        ),
                    ),
                ),
                Panel(
                    title="A denoising step on average, by model",
                    about="In the hour before, all shapes together: seconds of denoising, which count when a clip is "
                    "committed, over steps, which count as they are done.",
                    unit="s",
                    queries=(
                        Query(
                            expr=ratio(
                                rate(metrics.STAGE_WORK, DENOISE, by="model", window="1h"),
                                rate(metrics.DENOISE_STEPS, by="model", window="1h"),
                            ),
                            legend="{{model}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            title="Text",
            panels=(
                Panel(
                    title="Prompts that needed no encoder",
                    about="Found in memory or in the output. Negative prompts, which most clips share, count too.",
                    unit="percentunit",
                    max_value=1,
                    width=12,
                    queries=(Query(expr=HIT_RATIO, legend="found"),),
                ),
                Panel(
                    title="Prompts a second, by where their states came from",
                    about="encoded: by the text encoder.",
                    width=12,
                    is_stacked=True,
                    queries=(Query(expr=rate(metrics.EMBEDDING_CACHE, by="result"), legend="{{result}}"),),
                ),
            ),
        ),
        Row(
            title="Online",
            panels=(
                Panel(
                    title="From submission to a renderer",
                    about="How long jobs wait.",
                    unit="s",
                    queries=(
                        Query(
                            expr=quantile(0.5, metrics.JOB_WAIT_SECONDS, by="model"),
                            legend="{{model}} median",
                            why_empty=ONLINE,
                        ),
                        Query(
                            expr=quantile(0.95, metrics.JOB_WAIT_SECONDS, by="model"),
                            legend="{{model}} 95 %",
                            why_empty=ONLINE,
                        ),
                    ),
                ),
                Panel(
                    title="From submission to the end, 95 %",
                    about="answered: its clip was there when its turn came.",
                    unit="s",
                    queries=(
                        Query(
                            expr=quantile(0.95, metrics.JOB_SECONDS, by="status"),
                            legend="{{status}}",
                            why_empty=ONLINE,
                        ),
                    ),
                ),
                Panel(
                    title="The API's answer to a submission",
                    about="As Serve's proxy measures it.",
                    unit="s",
                    queries=(
                        Query(expr=http_quantile(0.5), legend="median", why_empty=ONLINE),
                        Query(expr=http_quantile(0.99), legend="99 %", why_empty=ONLINE),
                    ),
                ),
            ),
        ),
    ),
)
