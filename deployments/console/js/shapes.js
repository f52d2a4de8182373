/**
 * The API's shapes as this page reads them (docs/guides/api.md). Times are seconds since 1970, lengths seconds.
 *
 * @typedef {"queued" | "in_progress" | "completed" | "failed" | "cancelled"} Status
 *
 * @typedef {object} Fault
 * @property {string} code
 * @property {string} message
 * @property {string | null} [field]
 * @property {string | null} [advice]
 *
 * @typedef {object} Video
 * @property {string} id
 * @property {string} model
 * @property {string} prompt
 * @property {Status} status
 * @property {number} created_at
 * @property {number | null} [started_at]
 * @property {number | null} [completed_at]
 * @property {number | null} [expires_at]
 * @property {string} size "WIDTHxHEIGHT"
 * @property {string} seconds
 * @property {number} num_frames
 * @property {number} fps
 * @property {number} num_inference_steps
 * @property {number} guidance_scale
 * @property {number} [guidance_high]
 * @property {number} [guidance_low]
 * @property {number} [shift]
 * @property {number} seed
 * @property {string} [negative_prompt]
 * @property {string} [solver]
 * @property {"text" | "image"} [mode]
 * @property {{name: string, scale: number}[]} [adapters]
 * @property {number | null} [step]
 * @property {number | null} [num_steps]
 * @property {number | null} [preview_step]
 * @property {number | null} [position] 1 is next
 * @property {number | null} [eta_s] until it is done
 * @property {number | null} [wait_s] until it begins
 * @property {string | null} [renderer]
 * @property {number | null} [render_seconds]
 * @property {number | null} [device_seconds]
 * @property {number | null} [cost]
 * @property {string | null} [currency]
 * @property {boolean} [from_ledger]
 * @property {string | null} [remixed_from_video_id]
 * @property {string | null} [extends]
 * @property {string[]} [warnings]
 * @property {Record<string, string>} [tags]
 * @property {number} [priority]
 * @property {string} [clip_id]
 * @property {number | null} [attempts]
 * @property {{size_bytes: number, sha256: string} | null} [video]
 * @property {Fault | null} [error]
 *
 * @typedef {object} Model
 * @property {string} id
 * @property {string} [title]
 * @property {boolean} [is_default]
 * @property {string[]} modes
 * @property {string | null} [unsupported] why it cannot be rendered
 * @property {number} size_multiple
 * @property {number} frame_step a clip has k * frame_step + 1 frames
 * @property {string[]} sizes
 * @property {{size: string, num_frames: number, fps: number, num_inference_steps: number, guidance_scale: number,
 *   negative_prompt: string, solver: string, shift: number}} defaults
 * @property {{max_width: number, max_height: number, max_pixels: number, max_frames: number, max_seconds: number,
 *   max_steps: number, min_guidance_scale: number, max_guidance_scale: number}} limits
 * @property {{min_guidance: number, max_guidance: number, min_steps: number, stable_seconds: number}} [advice]
 * @property {string[]} solvers
 * @property {{name: string, title?: string}[]} [adapters]
 *
 * @typedef {object} QueueModel
 * @property {string} model
 * @property {number} num_queued
 * @property {number} num_running
 * @property {number} backlog_seconds
 * @property {number} num_renderers
 * @property {number | null} wait_s
 *
 * @typedef {object} Renderer
 * @property {string} name
 * @property {string} model
 * @property {string} state
 * @property {string | null} job_id
 * @property {number | null} step
 * @property {number | null} num_steps
 *
 * @typedef {object} Queue
 * @property {"up" | "away"} dispatcher
 * @property {{by: string, at: number} | null} paused
 * @property {QueueModel[]} models
 * @property {Renderer[]} renderers
 *
 * @typedef {object} Run
 * @property {string} run_id
 * @property {string} model
 * @property {string} manifest_uri
 * @property {string} status
 * @property {number | null} started_at
 * @property {number | null} finished_at
 * @property {number} num_rows
 * @property {number} num_clips
 * @property {number} num_done
 * @property {number} num_failed
 * @property {number} num_rejected
 * @property {number | null} clips_per_minute
 * @property {number | null} eta_s
 * @property {number | null} device_seconds
 * @property {number | null} cost
 * @property {string | null} currency
 * @property {string | null} report_uri
 *
 * @typedef {object} Session
 * @property {boolean} is_key_needed
 * @property {boolean} is_signed_in
 * @property {string | null} key_name
 * @property {string | null} project
 * @property {string[]} scopes
 *
 * @template T
 * @typedef {{data: T[], has_more?: boolean, last_id?: string | null}} Page
 */

export {};
