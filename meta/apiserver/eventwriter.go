package apiserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/watch"
)

// writeWait is how long one event may take to be written to the client.
const writeWait = 30 * time.Second

// eventWriter writes the events of one watch in the client's form.
type eventWriter struct {
	s       *Server
	w       http.ResponseWriter
	control *http.ResponseController
	r       *http.Request
	form    form
	res     *served
	columns bool // the next table includes the definitions of its columns
	buf     bytes.Buffer
}

func newEventWriter(s *Server, w http.ResponseWriter, r *http.Request, f form, res *served) *eventWriter {
	out := &eventWriter{s: s, w: w, control: http.NewResponseController(w), r: r, form: f, res: res, columns: true}
	media := f.media
	if media == runtime.ContentTypeProtobuf {
		media += ";stream=watch"
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	return out
}

// send writes one event. It returns false when the watch must end because the client has
// gone or is too slow.
func (o *eventWriter) send(kind watch.EventType, it item) bool {
	var obj runtime.Object = it.object
	switch o.form.as {
	case asTable:
		t, err := o.s.table(o.res, o.r.URL, []item{it}, o.columns)
		if err != nil {
			o.fail(err)
			return false
		}
		t.ResourceVersion = it.GetResourceVersion()
		obj, o.columns = t, false
	case asMetadata:
		obj = partial(it.object)
	}
	return o.write(kind, obj)
}

// bookmark sends the revision up to which the client has received all events.
func (o *eventWriter) bookmark(revision uint64, initial bool) bool {
	obj, ok := o.s.catalog.new(o.res).(object)
	if !ok {
		return true
	}
	it := item{object: obj}
	it.GetObjectKind().SetGroupVersionKind(o.res.kind())
	it.at(revision)
	if initial {
		obj.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	var shown runtime.Object = obj
	switch o.form.as {
	case asTable:
		t, err := o.s.table(o.res, o.r.URL, nil, o.columns)
		if err != nil {
			return false
		}
		t.ResourceVersion = it.GetResourceVersion()
		t.Rows = []metav1.TableRow{{Cells: make([]any, 0), Object: runtime.RawExtension{Object: partial(obj)}}}
		shown, o.columns = t, false
	case asMetadata:
		shown = partial(obj)
	}
	return o.write(watch.Bookmark, shown)
}

// fail ends the watch with a Status, as the API server does.
func (o *eventWriter) fail(err error) {
	_ = o.write(watch.Error, statusOf(err)) && o.flush()
}

func (o *eventWriter) write(kind watch.EventType, obj runtime.Object) bool {
	o.buf.Reset()
	if err := o.s.codec.encoder(o.form.media).Encode(obj, &o.buf); err != nil {
		o.s.cfg.Logger.Warn("watch event cannot be encoded", "resource", o.res.Name, "err", err)
		return false
	}
	if err := o.control.SetWriteDeadline(time.Now().Add(writeWait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return false
	}
	event := metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: o.buf.Bytes()}}
	if o.form.media == runtime.ContentTypeProtobuf {
		return o.s.codec.raw.Encode(&event, protobuf.LengthDelimitedFramer.NewFrameWriter(o.w)) == nil
	}
	return json.NewEncoder(o.w).Encode(event) == nil
}

func (o *eventWriter) flush() bool {
	if err := o.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return false
	}
	return true
}
