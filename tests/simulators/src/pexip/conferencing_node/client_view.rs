//! JSON of conferences and participants in the client API.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::pexip::live::{Conference, Participant};

impl Conference {
    pub(in crate::pexip) fn client_json(&self) -> Value {
        json!({
            "locked": false, "guests_muted": false, "started": self.is_started, "all_muted": false,
            "direct_media": false, "live_captions_available": false, "presentation_allowed": true,
            "breakout_rooms": false, "guests_can_unmute": true,
        })
    }
}

impl Participant {
    pub(in crate::pexip) fn client_json(&self) -> Value {
        let media = if self.has_media { "YES" } else { "NO" };
        json!({
            "buzz_time": 0, "call_direction": self.call_direction, "call_tag": "",
            "can_receive_personal_mix": false, "disconnect_supported": "YES",
            "display_name": self.display_name, "encryption": if self.has_media { "On" } else { "Off" },
            "external_node_uuid": "", "fecc_supported": "NO", "has_media": self.has_media,
            "is_audio_only_call": "NO", "is_client_muted": false, "is_conjoined": false, "is_external": false,
            "is_idp_authenticated": false, "is_muted": "NO", "is_presenting": "NO",
            "is_streaming_conference": false, "is_transferring": false, "is_video_call": media,
            "is_video_muted": false, "is_video_silent": false, "last_spoken_time": 0,
            "local_alias": self.conference, "mute_supported": "YES", "needs_presentation_in_mix": false,
            "overlay_text": self.display_name, "presentation_supported": "NO",
            "protocol": self.protocol.to_lowercase(),
            "receive_from_video_mix": {"mix_name": "main", "timestamp": 0},
            "role": self.role_name(), "rx_presentation_policy": "ALLOW", "service_type": self.service_type,
            "spotlight": 0,
            "start_time": (self.connect_time - OffsetDateTime::UNIX_EPOCH).as_seconds_f64(),
            "supports_direct_chat": false, "transfer_supported": "YES", "uri": self.destination_alias,
            "uuid": self.id, "vendor": "",
        })
    }
}
