package twins

import (
	"fmt"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	maxSelector = 16 << 10 // bytes of a selector
	maxClauses  = 32       // of an Accept header that are read
	// watchLife is the shortest life of a watch whose client sets no timeout.
	watchLife = 30 * time.Minute
)

// request is one request about twins.
type request struct {
	verb            string // get, list or watch
	namespace, name string
	table           bool
	discovery       bool // aggregated discovery is understood
	labels          labels.Selector
	fields          fields.Selector
	version         string // of a watch
	initial         bool   // sendInitialEvents=true
	noInitial       bool   // sendInitialEvents=false
	bookmarks       bool
	life            time.Duration
}

// parsePath takes the path below /apis/GROUP/VERSION apart.
func (q *request) parsePath(rest string) bool {
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	if len(parts) >= 3 && parts[0] == "namespaces" {
		if parts[1] == "" {
			return false
		}
		q.namespace, parts = parts[1], parts[2:]
	}
	switch {
	case len(parts) == 1 && parts[0] == Resource:
		q.verb = "list"
	case len(parts) == 2 && parts[0] == Resource && parts[1] != "" && q.namespace != "":
		q.verb, q.name = "get", parts[1]
	default:
		return false
	}
	return true
}

// parseOptions reads the query of a list or watch.
func (q *request) parseOptions(values url.Values) error {
	q.labels, q.fields = labels.Everything(), fields.Everything()
	var err error
	if text := values.Get("labelSelector"); text != "" {
		if len(text) > maxSelector {
			return apierrors.NewBadRequest("labelSelector is longer than 16 KiB")
		}
		if q.labels, err = labels.Parse(text); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("labelSelector: %v", err))
		}
	}
	if text := values.Get("fieldSelector"); text != "" {
		if len(text) > maxSelector {
			return apierrors.NewBadRequest("fieldSelector is longer than 16 KiB")
		}
		if q.fields, err = fields.ParseSelector(text); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("fieldSelector: %v", err))
		}
		for _, r := range q.fields.Requirements() {
			switch r.Field {
			case "metadata.name", "metadata.namespace", "node":
			default:
				return apierrors.NewBadRequest(fmt.Sprintf("fieldSelector: %.80q is not supported: use metadata.name, metadata.namespace or node", r.Field))
			}
		}
	}
	q.version = values.Get("resourceVersion")
	if q.verb == "list" && (values.Get("watch") == "true" || values.Get("watch") == "1") {
		q.verb = "watch"
		return q.parseWatch(values)
	}
	return nil
}

func (q *request) parseWatch(values url.Values) error {
	q.bookmarks = values.Get("allowWatchBookmarks") == "true" || values.Get("allowWatchBookmarks") == "1"
	if values.Has("sendInitialEvents") {
		q.initial = values.Get("sendInitialEvents") == "true"
		q.noInitial = !q.initial
		if values.Get("resourceVersionMatch") != "NotOlderThan" {
			return apierrors.NewBadRequest("sendInitialEvents needs resourceVersionMatch=NotOlderThan")
		}
	}
	q.life = watchLife + rand.N(watchLife)
	if text := values.Get("timeoutSeconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return apierrors.NewBadRequest(fmt.Sprintf("timeoutSeconds %.40q is not a number of seconds", text))
		}
		if n > 0 {
			q.life = time.Duration(min(n, int(24*time.Hour/time.Second))) * time.Second
		}
	}
	return nil
}

// negotiate reads the Accept header: JSON as it is, or as a Table.
func (q *request) negotiate(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	if strings.TrimSpace(accept) == "" {
		return true
	}
	for i, clause := range strings.Split(accept, ",") {
		if i == maxClauses {
			break
		}
		media, params, err := mime.ParseMediaType(clause)
		if err != nil {
			continue
		}
		switch media {
		case "*/*", "application/*", "application/json":
		default:
			continue
		}
		switch as := params["as"]; {
		case as == "":
		case as == "Table" && params["g"] == "meta.k8s.io" && params["v"] == "v1":
			q.table = true
		case as == "APIGroupDiscoveryList" && params["v"] == "v2":
			q.discovery = true
		default:
			continue
		}
		return true
	}
	return false
}

// selects reports whether the client wants to see the device.
func (q *request) selects(r Report) bool {
	return (q.namespace == "" || q.namespace == r.Namespace) && q.labels.Matches(labels.Set(r.Labels)) &&
		q.fields.Matches(fields.Set{"metadata.name": r.Name, "metadata.namespace": r.Namespace, "node": r.Node})
}
