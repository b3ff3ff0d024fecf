//! Errors of Queue and Blob Storage with their codes, which clients act on.

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::xml;

/// Header that clients compare instead of the status: 404 has two meanings.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// A refused operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StorageError {
    AuthenticationFailed,
    AuthorizationFailure,
    AuthorizationPermissionMismatch,
    AuthorizationProtocolMismatch,
    AuthorizationResourceTypeMismatch,
    AuthorizationServiceMismatch,
    BlobAlreadyExists,
    BlobNotFound,
    ConditionNotMet,
    ContainerAlreadyExists,
    ContainerNotFound,
    InvalidQueryParameterValue,
    InvalidRange,
    InvalidResourceName,
    InvalidXmlDocument,
    MessageNotFound,
    MissingRequiredHeader,
    MissingRequiredQueryParameter,
    MultipleConditionHeadersNotSupported,
    OutOfRangeInput,
    OutOfRangeQueryParameterValue,
    PopReceiptMismatch,
    QueueAlreadyExists,
    QueueNotFound,
    RequestBodyTooLarge,
    UnsupportedHttpVerb,
}

impl StorageError {
    fn status(self) -> StatusCode {
        match self {
            Self::AuthenticationFailed
            | Self::AuthorizationFailure
            | Self::AuthorizationPermissionMismatch
            | Self::AuthorizationProtocolMismatch
            | Self::AuthorizationResourceTypeMismatch
            | Self::AuthorizationServiceMismatch => StatusCode::FORBIDDEN,
            Self::InvalidQueryParameterValue
            | Self::InvalidResourceName
            | Self::InvalidXmlDocument
            | Self::MissingRequiredHeader
            | Self::MissingRequiredQueryParameter
            | Self::MultipleConditionHeadersNotSupported
            | Self::OutOfRangeInput
            | Self::OutOfRangeQueryParameterValue
            | Self::PopReceiptMismatch => StatusCode::BAD_REQUEST,
            Self::BlobNotFound | Self::ContainerNotFound | Self::MessageNotFound | Self::QueueNotFound => {
                StatusCode::NOT_FOUND
            }
            Self::BlobAlreadyExists | Self::ContainerAlreadyExists | Self::QueueAlreadyExists => StatusCode::CONFLICT,
            Self::ConditionNotMet => StatusCode::PRECONDITION_FAILED,
            Self::InvalidRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::RequestBodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedHttpVerb => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::AuthenticationFailed | Self::AuthorizationFailure => {
                "Server failed to authenticate the request. Make sure the value of the Authorization header is formed correctly including the signature."
            }
            Self::AuthorizationPermissionMismatch => {
                "This request is not authorized to perform this operation using this permission."
            }
            Self::AuthorizationProtocolMismatch => {
                "This request is not authorized to perform this operation using this protocol."
            }
            Self::AuthorizationResourceTypeMismatch => {
                "This request is not authorized to perform this operation using this resource type."
            }
            Self::AuthorizationServiceMismatch => {
                "This request is not authorized to perform this operation using this service."
            }
            Self::BlobAlreadyExists => "The specified blob already exists.",
            Self::BlobNotFound => "The specified blob does not exist.",
            Self::ConditionNotMet => "The condition specified using HTTP conditional header(s) is not met.",
            Self::ContainerAlreadyExists => "The specified container already exists.",
            Self::ContainerNotFound => "The specified container does not exist.",
            Self::InvalidRange => "The range specified is invalid for the current size of the resource.",
            Self::MissingRequiredHeader => "An HTTP header that's mandatory for this request is not specified.",
            Self::MultipleConditionHeadersNotSupported => "Multiple condition headers are not supported.",
            Self::InvalidQueryParameterValue => {
                "Value for one of the query parameters specified in the request URI is invalid."
            }
            Self::InvalidResourceName => "The specified resource name contains invalid characters.",
            Self::InvalidXmlDocument => "XML specified is not syntactically valid.",
            Self::MessageNotFound => "The specified message does not exist.",
            Self::MissingRequiredQueryParameter => "A required query parameter was not specified for this request.",
            Self::OutOfRangeInput => "The specified resource name length is not within the permissible limits.",
            Self::OutOfRangeQueryParameterValue => {
                "One of the query parameters specified in the request URI is outside the permissible range."
            }
            Self::PopReceiptMismatch => {
                "The specified pop receipt did not match the pop receipt for a dequeued message."
            }
            Self::QueueAlreadyExists => "The specified queue already exists.",
            Self::QueueNotFound => "The specified queue does not exist.",
            Self::RequestBodyTooLarge => "The request body is too large and exceeds the maximum permissible limit.",
            Self::UnsupportedHttpVerb => "The resource doesn't support specified Http Verb.",
        }
    }
}

impl IntoResponse for StorageError {
    fn into_response(self) -> Response {
        // The variants' names are the service's codes.
        let code = format!("{self:?}");
        let body = xml::error(&code, self.message());
        (self.status(), [(header::CONTENT_TYPE, "application/xml".to_owned()), (ERROR_CODE, code)], body)
            .into_response()
    }
}
