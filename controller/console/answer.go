package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// apiError is an answer that is no success. The user reads its message.
type apiError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *apiError) Error() string { return e.Message }

func fail(code int, format string, args ...any) error {
	return &apiError{code, fmt.Sprintf(format, args...)}
}

// writeFailure writes an error, and says what was not expected in the log only.
func (s *Server) writeFailure(w http.ResponseWriter, r *http.Request, err error) {
	if known := (*apiError)(nil); !errors.As(err, &known) {
		if r.Context().Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			s.log.Error("a request to the console failed", "path", r.URL.Path, "err", err)
		}
		err = fail(http.StatusServiceUnavailable, "the request took too long or failed: try again")
	}
	writeError(w, err)
}

func writeError(w http.ResponseWriter, err error) {
	known := &apiError{http.StatusInternalServerError, "the request failed"}
	errors.As(err, &known)
	if known.Code == http.StatusServiceUnavailable || known.Code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "3")
	}
	writeJSON(w, known.Code, struct {
		Error *apiError `json:"error"`
	}{known})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	raw, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil { // not of the types here
			code, raw = http.StatusInternalServerError, []byte(`{"error":{"code":500,"message":"the answer cannot be written"}}`)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(raw) // a client that is gone needs no answer
}
