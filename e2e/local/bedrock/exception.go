package bedrock

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Exception is an error as the service sends it: before an answer has begun as an HTTP status with the type in the
// X-Amzn-Errortype header, and later as an exception event in the stream.
type Exception struct {
	Type    string // e.g. "ThrottlingException"
	Message string
}

func (e *Exception) Error() string { return e.Type + ": " + e.Message }

// statuses holds the HTTP status of each exception
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors, read 2026-11-24).
var statuses = map[string]int{
	"ValidationException":          http.StatusBadRequest,
	"AccessDeniedException":        http.StatusForbidden,
	"ResourceNotFoundException":    http.StatusNotFound,
	"ModelTimeoutException":        http.StatusRequestTimeout,
	"ModelErrorException":          http.StatusFailedDependency,
	"ModelNotReadyException":       http.StatusTooManyRequests,
	"ThrottlingException":          http.StatusTooManyRequests,
	"InternalServerException":      http.StatusInternalServerError,
	"ServiceUnavailableException":  http.StatusServiceUnavailable,
	"IncompleteSignatureException": http.StatusBadRequest,
	// Only in a stream; the status it would have had.
	"ModelStreamErrorException": http.StatusFailedDependency,
}

// inStream maps the exceptions that a stream can carry to their event names; any other ends a stream as
// internalServerException.
var inStream = map[string]string{
	"InternalServerException":     "internalServerException",
	"ModelStreamErrorException":   "modelStreamErrorException",
	"ValidationException":         "validationException",
	"ThrottlingException":         "throttlingException",
	"ServiceUnavailableException": "serviceUnavailableException",
}

func invalid(format string, args ...any) *Exception {
	return &Exception{Type: "ValidationException", Message: fmt.Sprintf(format, args...)}
}

// write sends e as an HTTP error. Signature errors have types that statuses doesn't know and are 403.
func (e *Exception) write(w http.ResponseWriter) {
	status, ok := statuses[e.Type]
	if !ok {
		status = http.StatusForbidden
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", e.Type)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": e.Message}) // the client has gone; nobody is left to tell
}
