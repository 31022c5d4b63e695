package meta

import "github.com/edgekit/edgekit/meta/jsonlimit"

// reasonNotFound is the reason in the Status that an API server returns for an
// object that does not exist (metav1.StatusReasonNotFound).
const reasonNotFound = "NotFound"

// NotFoundBody is the body of a deletion that the cloud sends for an object that
// does not exist. A deletion without it says only that this node need not hold the
// object any more.
func NotFoundBody() []byte { return []byte(`{"reason":"` + reasonNotFound + `"}`) }

// SaysNotFound reports whether the body of a deletion says that the object does not
// exist. It accepts additional fields, which a later release may send.
func SaysNotFound(body []byte) bool {
	var status struct {
		Reason string `json:"reason"`
	}
	return len(body) > 0 && jsonlimit.Unmarshal(body, &status) == nil && status.Reason == reasonNotFound
}
