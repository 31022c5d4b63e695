package apiserver

import (
	"bytes"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// localBase is added to a revision of the store to make a resourceVersion. A client uses one
// address and gets objects of the node's store and of the API server, in turn, as the link
// goes and comes. The two must never be mixed up: a watch that continues a revision of one at
// the other would silently miss events. An etcd revision is a count of writes and never gets
// this large; the sum fits a signed number of 64 bits, which some clients need.
const localBase uint64 = 4_000_000_000_000_000_000

// localPrefix begins every resourceVersion that localVersion makes: revisions have at most 13
// digits.
const localPrefix = "400000"

// localVersion is the resourceVersion of a revision of the store.
func localVersion(revision uint64) string { return strconv.FormatUint(localBase+revision, 10) }

// parseVersion reads a resourceVersion that a client sends: a revision of the store (ours), or
// one of the API server.
func parseVersion(text string) (revision uint64, ours bool, err error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, false, badRequest("resourceVersion %.40q is none that this server gave", text)
	}
	if n < localBase {
		return 0, false, nil
	}
	return n - localBase, true, nil
}

// isLocal reports whether a resourceVersion is a revision of the store.
func isLocal(text string) bool {
	_, ours, err := parseVersion(text)
	return err == nil && ours
}

// mayHaveLocal reports whether a body may have a resourceVersion of the store in it.
func mayHaveLocal(body []byte) bool { return bytes.Contains(body, []byte(localPrefix)) }

// queryToCloud returns the parameters of a read as the API server understands them. A read
// that continues what the node's store answered begins anew: a list that is to be no older
// than a revision of the store becomes the newest list. What cannot begin anew by itself, a
// watch or the next page of a list, gets 410 Gone, and the client lists again.
func queryToCloud(r *http.Request, q request) (string, error) {
	values := r.URL.Query()
	if token := values.Get("continue"); token != "" {
		if _, err := parseContinue(token); err == nil {
			return "", apierrors.NewResourceExpired("continue is of a list that the node made while the cloud was out of reach: list from the start")
		}
	}
	if !isLocal(values.Get("resourceVersion")) {
		return r.URL.RawQuery, nil
	}
	switch {
	case q.verb == "watch" && !flag(r.URL, "sendInitialEvents"):
		return "", apierrors.NewResourceExpired("the resourceVersion is of the node's own store, and the node is connected: list again")
	case values.Get("resourceVersionMatch") == string(metav1.ResourceVersionMatchExact):
		return "", apierrors.NewResourceExpired("the resourceVersion is of the node's own store, and the node is connected: list without an exact one")
	}
	values.Del("resourceVersion")
	if q.verb != "watch" { // with sendInitialEvents it is required
		values.Del("resourceVersionMatch")
	}
	return values.Encode(), nil
}
