package apiserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Events are the only writes that the node accepts while it is offline: nothing depends
// on them, they are new objects that conflict with nothing, and the outbox bounds them.
// They go to the cloud as the node's own reports, online and offline, so that they keep
// their order.

// maxEvent bounds one event, in bytes; the API server allows 1 KiB for its message.
const maxEvent = 16 << 10

func isEvent(q request) bool {
	return q.resource == "events" && q.subresource == "" && q.version == "v1" && (q.group == "" || q.group == eventsv1.GroupName)
}

// writeEvent accepts a new event, or a change of one that is still known here.
func (s *Server) writeEvent(w http.ResponseWriter, r *http.Request, q request) error {
	if s.cfg.Cloud == nil {
		return unavailable(q, "this node has no cloud to report events to")
	}
	var event *corev1.Event
	var err error
	code := http.StatusCreated
	if q.verb == "create" {
		event, err = s.newEvent(w, r, q)
	} else {
		code = http.StatusOK
		event, err = s.patchedEvent(w, r, q)
	}
	if err != nil {
		return err
	}
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	if len(body) > maxEvent {
		return apierrors.NewRequestEntityTooLargeError("limit of an event is " + strconv.Itoa(maxEvent))
	}
	key := meta.Key{Resource: "events", Namespace: event.Namespace, Name: event.Name}
	if !key.Valid() {
		return badRequest("event %.100q: name or namespace is missing or cannot be one", key)
	}
	if err := s.cfg.Cloud.Append(r.Context(), key, body); err != nil {
		return err
	}
	if record, err := s.cfg.Store.Get(r.Context(), meta.Events+key.Path()); err == nil {
		event.ResourceVersion = localVersion(record.Revision)
	}
	f, ok := negotiate(r.Header.Get("Accept"), true)
	if !ok {
		return notAcceptable()
	}
	if q.group == eventsv1.GroupName {
		s.codec.write(w, f.media, code, toEventsV1(event))
		return nil
	}
	event.TypeMeta = metav1.TypeMeta{Kind: "Event", APIVersion: "v1"}
	s.codec.write(w, f.media, code, event)
	return nil
}

func (s *Server) newEvent(w http.ResponseWriter, r *http.Request, q request) (*corev1.Event, error) {
	event := &corev1.Event{}
	if q.group == eventsv1.GroupName {
		var e eventsv1.Event
		if err := s.readBody(w, r, &e); err != nil {
			return nil, err
		}
		event = fromEventsV1(&e)
	} else if err := s.readBody(w, r, event); err != nil {
		return nil, err
	}
	if event.Namespace == "" {
		event.Namespace = q.namespace
	}
	if event.Namespace != q.namespace || q.namespace == "" {
		return nil, badRequest("the namespace of the event (%.100q) is not that of the request (%.100q)", event.Namespace, q.namespace)
	}
	if event.Name == "" && event.GenerateName != "" {
		event.Name = event.GenerateName + strings.ToLower(rand.Text()[:5])
	}
	event.TypeMeta, event.ManagedFields, event.ResourceVersion = metav1.TypeMeta{}, nil, ""
	if event.CreationTimestamp.IsZero() {
		event.CreationTimestamp = metav1.NewTime(s.cfg.Now())
	}
	return event, nil
}

// patchedEvent changes an event that is still here. For another one it returns "not
// found", so that the event's recorder creates a new one.
func (s *Server) patchedEvent(w http.ResponseWriter, r *http.Request, q request) (*corev1.Event, error) {
	media := mediaOf(r.Header.Get("Content-Type"))
	if media != string(types.StrategicMergePatchType) && media != string(types.MergePatchType) {
		return nil, unsupportedMedia(media) // events have no lists for which the two differ
	}
	patch, err := s.body(w, r)
	if err != nil {
		return nil, err
	}
	event, err := s.outboxEvent(r.Context(), q)
	if err != nil {
		return nil, err
	}
	var v any = event
	if q.group == eventsv1.GroupName {
		v = toEventsV1(event)
	}
	before, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fields, err := parseObject(before)
	if err != nil {
		return nil, err
	}
	changes, err := parseObject(patch)
	if err != nil {
		return nil, badRequest("patch is no JSON object that can be taken: %v", err)
	}
	after, err := json.Marshal(mergePatch(fields, changes))
	if err != nil {
		return nil, err
	}
	changed := &corev1.Event{}
	if q.group == eventsv1.GroupName {
		var e eventsv1.Event
		err = jsonlimit.Unmarshal(after, &e)
		changed = fromEventsV1(&e)
	} else {
		err = jsonlimit.Unmarshal(after, changed)
	}
	if err != nil {
		return nil, badRequest("patch: %v", err)
	}
	if changed.Name != event.Name || changed.Namespace != event.Namespace {
		return nil, badRequest("a patch cannot change an event's name")
	}
	changed.TypeMeta = metav1.TypeMeta{}
	return changed, nil
}

func (s *Server) outboxEvent(ctx context.Context, q request) (*corev1.Event, error) {
	it, err := s.load(ctx, s.catalog.find("", "v1", "events"), meta.Key{Resource: "events", Namespace: q.namespace, Name: q.name})
	event, ok := it.object.(*corev1.Event)
	if errors.Is(err, errNotThere) || err == nil && !ok {
		return nil, apierrors.NewNotFound(q.groupResource(), q.name)
	}
	if err != nil {
		return nil, err
	}
	event.ResourceVersion = ""
	return event, nil
}

// mergePatch applies a patch by RFC 7386.
func mergePatch(to, patch map[string]any) map[string]any {
	if to == nil {
		to = make(map[string]any)
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(to, k)
		case map[string]any:
			sub, _ := to[k].(map[string]any)
			to[k] = mergePatch(sub, v)
		default:
			to[k] = v
		}
	}
	return to
}

func fromEventsV1(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta: e.ObjectMeta, InvolvedObject: e.Regarding, Related: e.Related, Reason: e.Reason, Message: e.Note,
		Source: e.DeprecatedSource, FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp,
		Count: e.DeprecatedCount, Type: e.Type, EventTime: e.EventTime, Action: e.Action,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

func toEventsV1(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		TypeMeta:   metav1.TypeMeta{Kind: "Event", APIVersion: eventsv1.SchemeGroupVersion.String()},
		ObjectMeta: e.ObjectMeta, Regarding: e.InvolvedObject, Related: e.Related, Reason: e.Reason, Note: e.Message,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
		DeprecatedCount: e.Count, Type: e.Type, EventTime: e.EventTime, Action: e.Action,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}
