package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/edgekit/edgekit/controller/internal/summary"
)

// maxEvents is how many events of a node are read.
const maxEvents = 500

// eventItem is one event of a node.
type eventItem struct {
	Time    string `json:"time,omitempty"`
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Object  string `json:"object"`
	Message string `json:"message"`
	Count   int32  `json:"count"`
}

// eventsOfNode reads the events of a node with the user's token, newest first: of all
// namespaces, or of "default", where Kubernetes writes those of Nodes, if the user may read only
// there. They are not cached: cloudcore watches no events.
func (s *Server) eventsOfNode(q *request) (any, error) {
	o, err := parseList(q.URL.Query(), "time")
	if err != nil {
		return nil, err
	}
	if !q.URL.Query().Has("limit") {
		o.limit = maxLimit
	}
	selector := fields.AndSelectors(fields.OneTermEqualSelector("involvedObject.kind", "Node"), fields.OneTermEqualSelector("involvedObject.name", q.PathValue("name"))).String()
	query := url.Values{"fieldSelector": {selector}, "limit": {strconv.Itoa(maxEvents)}}
	var list corev1.EventList
	err = s.upstream.get(q.Context(), q.token, []string{"api", "v1", "events"}, query, &list)
	if known := (*apiError)(nil); errors.As(err, &known) && known.Code == http.StatusForbidden {
		err = s.upstream.get(q.Context(), q.token, []string{"api", "v1", "namespaces", metav1.NamespaceDefault, "events"}, query, &list)
	}
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return eventTime(&b).Compare(eventTime(&a)) })
	page := pageOf[eventItem]{Items: []eventItem{}, Total: len(list.Items)}
	for i := range list.Items[:min(len(list.Items), o.limit)] {
		e := &list.Items[i]
		page.Items = append(page.Items, eventItem{
			Time: stamp(eventTime(e)), Type: summary.Shorten(e.Type, maxText), Reason: summary.Shorten(e.Reason, maxText),
			Object:  summary.Shorten(e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name, 2*maxSearch),
			Message: summary.Shorten(e.Message, maxMessage), Count: max(1, e.Count),
		})
	}
	return page, nil
}

// eventTime is when an event happened last.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
