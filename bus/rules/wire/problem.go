package wire

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Headers of requests and answers.
const (
	ErrorHeader = "Edgekit-Error"    // on an answer that is not the service's: the Problem's reason
	TopicHeader = "Edgekit-Topic"    // the real topic of a message
	NodeHeader  = "Edgekit-Node"     // the node that it comes from
	IDHeader    = "Edgekit-Event-Id" // the same at each try, so that a receiver can drop doubles
	RuleHeader  = "Edgekit-Rule"     // NAMESPACE/NAME of the Rule
)

// Reasons of problems: the values of ErrorHeader.
const (
	ReasonBadRequest      = "bad-request"       // 400
	ReasonUnauthenticated = "unauthenticated"   // 401
	ReasonForbidden       = "forbidden"         // 403
	ReasonNoRule          = "no-rule"           // 404
	ReasonNoNode          = "no-node"           // 404
	ReasonAmbiguous       = "ambiguous"         // 409
	ReasonTooLarge        = "too-large"         // 413
	ReasonRefused         = "service-refused"   // 502
	ReasonNodeAway        = "node-away"         // 503
	ReasonBusy            = "busy"              // 503
	ReasonTimeout         = "timeout"           // 504
	ReasonDeferred        = "deferred"          // 202: no error
	ReasonStore           = "store-unwritable"  // 503
	ReasonHost            = "host-not-allowed"  // 403
	ReasonUnresolved      = "rule-not-resolved" // 503
)

// Problem is an answer of ours, in the form of RFC 9457.
type Problem struct {
	Status     int           `json:"status"`
	Reason     string        `json:"reason"`           // the value of ErrorHeader
	Title      string        `json:"title"`            // the status as text
	Detail     string        `json:"detail,omitempty"` // what happened and what helps
	RetryAfter time.Duration `json:"-"`                // becomes the header Retry-After; 0 sets none
}

// NewProblem makes a Problem.
func NewProblem(status int, reason, detail string) *Problem {
	p := &Problem{Status: status, Reason: reason, Title: http.StatusText(status), Detail: detail}
	if status == http.StatusServiceUnavailable {
		p.RetryAfter = 5 * time.Second
	}
	return p
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// Write answers a request with p. An error while writing has no effect: the client is gone.
func (p *Problem) Write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers always have JSON
		body = nil
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(ErrorHeader, p.Reason)
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.RetryAfter.Seconds())))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client is gone if this fails
}
