package meta

import "github.com/edgekit/edgekit/meta/jsonlimit"

// reasonNotFound is the reason of Kubernetes' Status for what does not exist
// (metav1.StatusReasonNotFound).
const reasonNotFound = "NotFound"

// NotFoundBody is the body of a deletion on its way down that says more than
// that this node need not have the object: it does not exist.
func NotFoundBody() []byte { return []byte(`{"reason":"` + reasonNotFound + `"}`) }

// SaysNotFound reports whether the body of a deletion is one of NotFoundBody, or
// of a later release that says the same in other words beside it.
func SaysNotFound(body []byte) bool {
	var status struct {
		Reason string `json:"reason"`
	}
	return len(body) > 0 && jsonlimit.Unmarshal(body, &status) == nil && status.Reason == reasonNotFound
}
