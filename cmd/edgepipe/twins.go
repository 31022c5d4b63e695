package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// Bounds of what is kept of twins.
const (
	maxTwins = 100_000 // values
	maxEvent = 1 << 20 // bytes of one event of the watch
)

// twins are the devices of the node, by the node's own API on its socket. They are watched from
// the first use on.
type twins struct {
	client *http.Client
	log    *slog.Logger
	needed chan struct{}
	need   func() // closes needed, once

	mu       sync.Mutex
	values   map[twinKey]pipeline.TwinValue
	labels   map[string]labels.Set // of Devices, by NAMESPACE/NAME
	watchers map[*twinWatcher]struct{}
}

type twinKey struct{ device, property string }

// twinWatcher has the newest values that its handler has not had yet.
type twinWatcher struct {
	wants   func(twinKey) bool
	selects labels.Selector // by the labels of the Device; nil selects all
	pending map[twinKey]pipeline.TwinValue
	order   []twinKey
	wake    chan struct{}
}

func newTwins(socket string, log *slog.Logger) *twins {
	t := &twins{
		client: socketClient(socket), log: log.With("component", "twins"), needed: make(chan struct{}),
		values: make(map[twinKey]pipeline.TwinValue), watchers: make(map[*twinWatcher]struct{}),
	}
	t.need = sync.OnceFunc(func() { close(t.needed) })
	return t
}

// run watches the twins until ctx ends, from their first use on.
func (t *twins) run(ctx context.Context) error {
	select {
	case <-t.needed:
	case <-ctx.Done():
		return nil
	}
	defer t.client.CloseIdleConnections()
	for ctx.Err() == nil {
		if err := t.watch(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("devices are watched again", "err", err)
		}
		sleep(ctx, retryPause)
	}
	return nil
}

// change is an event of the watch, as package twin/httpapi has it.
type change struct {
	Device   string `json:"device"`
	Property string `json:"property"`
	Type     string `json:"type"`
	Actual   *struct {
		Value string `json:"value"`
		Time  int64  `json:"time"`
	} `json:"actual"`
}

func (t *twins) watch(ctx context.Context) error {
	answer, err := get(ctx, t.client, "/twin/v1/watch")
	if err != nil {
		return err
	}
	defer answer.Close()
	lines := bufio.NewScanner(answer)
	lines.Buffer(make([]byte, 0, 4096), maxEvent)
	kind := ""
	for lines.Scan() {
		line := lines.Bytes()
		if name, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			kind = string(name)
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		var c change
		if err := json.Unmarshal(data, &c); err != nil {
			return err
		}
		t.apply(kind, &c)
	}
	return errors.Join(lines.Err(), io.EOF)
}

// apply follows one event.
func (t *twins) apply(kind string, c *change) {
	key := twinKey{c.Device, c.Property}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case kind == "deleted":
		delete(t.values, key)
	case kind == "removed":
		for k := range t.values {
			if k.device == c.Device {
				delete(t.values, k)
			}
		}
	case kind == "property" && c.Actual != nil:
		v := pipeline.TwinValue{
			Device: c.Device, Property: c.Property, Value: typed(c.Type, c.Actual.Value),
			Time: time.UnixMilli(c.Actual.Time), Version: strconv.FormatInt(c.Actual.Time, 10),
		}
		old, known := t.values[key]
		if known && old.Version == v.Version && old.Value == v.Value || !known && len(t.values) >= maxTwins {
			return // of the present state, after a new connection
		}
		t.values[key] = v
		for w := range t.watchers {
			t.addLocked(w, key, v)
		}
	}
}

// setLabels sets the labels of all Devices. Watchers get the values of those that they select now
// and did not before.
func (t *twins) setLabels(devices []wire.Device) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.labels
	t.labels = make(map[string]labels.Set, len(devices))
	for _, d := range devices {
		t.labels[d.Namespace+"/"+d.Name] = d.Labels
	}
	for w := range t.watchers {
		if w.selects == nil {
			continue
		}
		for key, v := range t.values {
			if had, known := before[key.device]; !known || !w.selects.Matches(had) {
				t.addLocked(w, key, v)
			}
		}
	}
}

// typed is a value in the type of its property.
func typed(kind, text string) any {
	switch strings.ToLower(kind) {
	case "int", "integer":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case "float", "double", "number":
		if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	case "bool", "boolean":
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	}
	return text
}

// addLocked notes a value for the handler of a watcher that wants it. It needs mu.
func (t *twins) addLocked(w *twinWatcher, key twinKey, v pipeline.TwinValue) {
	if !w.wants(key) {
		return
	}
	if w.selects != nil {
		if has, known := t.labels[key.device]; !known || !w.selects.Matches(has) {
			return
		}
	}
	if _, waits := w.pending[key]; !waits {
		w.order = append(w.order, key)
	}
	w.pending[key] = v
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Reported returns the last reported value.
func (t *twins) Reported(device, property string) (pipeline.TwinValue, bool) {
	t.need()
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[twinKey{device, property}]
	return v, ok
}

// watchThose calls handle with the values that there are and then with each change. A slow handler
// gets the newest of several values of one property.
func (t *twins) watchThose(ctx context.Context, w *twinWatcher, handle func(ctx context.Context, v pipeline.TwinValue) error) error {
	t.need()
	w.pending, w.wake = make(map[twinKey]pipeline.TwinValue), make(chan struct{}, 1)
	t.mu.Lock()
	for key, v := range t.values {
		t.addLocked(w, key, v)
	}
	t.watchers[w] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.watchers, w)
		t.mu.Unlock()
	}()
	for {
		t.mu.Lock()
		var v pipeline.TwinValue
		some := len(w.order) > 0
		if some {
			v = w.pending[w.order[0]]
			delete(w.pending, w.order[0])
			w.order = w.order[1:]
		}
		t.mu.Unlock()
		if some {
			if err := handle(ctx, v); err != nil {
				return err
			}
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// SetDesired sets a desired value.
func (t *twins) SetDesired(ctx context.Context, device, property string, value any) error {
	text, err := asText(value)
	if err != nil {
		return fmt.Errorf("%w: %w", pipeline.ErrRefused, err)
	}
	body, err := json.Marshal(map[string]string{property: text})
	if err != nil {
		return err
	}
	namespace, name, _ := strings.Cut(device, "/")
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://edgecore/twin/v1/devices/"+url.PathEscape(namespace)+"/"+url.PathEscape(name)+"/desired", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // the status says enough
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode/100 == 5:
		return fmt.Errorf("the node's own API answered %s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	return fmt.Errorf("%w: device %s: %s: %s", pipeline.ErrRefused, device, resp.Status, bytes.TrimSpace(answer))
}

// asText is a value as twins have it.
func asText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	}
	return "", fmt.Errorf("a value of type %T is no value of a property: use a text, a number or a bool", v)
}

// scopedTwins are the devices of one namespace: a Pipeline names them with or without it.
type scopedTwins struct {
	*twins
	namespace string
}

var _ pipeline.Twins = scopedTwins{}

// full is the whole name of a device; false for one of another namespace.
func (t scopedTwins) full(device string) (string, bool) {
	namespace, name, has := strings.Cut(device, "/")
	if !has {
		return t.namespace + "/" + device, device != ""
	}
	return device, namespace == t.namespace && name != ""
}

func (t scopedTwins) short(v pipeline.TwinValue) pipeline.TwinValue {
	v.Device = strings.TrimPrefix(v.Device, t.namespace+"/")
	return v
}

// Reported returns the last reported value.
func (t scopedTwins) Reported(device, property string) (pipeline.TwinValue, bool) {
	id, ok := t.full(device)
	if !ok {
		return pipeline.TwinValue{}, false
	}
	v, ok := t.twins.Reported(id, property)
	return t.short(v), ok
}

// Watch watches devices of the namespace.
func (t scopedTwins) Watch(ctx context.Context, which v1alpha1.TwinSource, handle func(ctx context.Context, v pipeline.TwinValue) error) error {
	var selects labels.Selector
	if which.Selector != nil {
		var err error
		if selects, err = metav1.LabelSelectorAsSelector(which.Selector); err != nil {
			return fmt.Errorf("twin.selector: %w", err)
		}
	}
	devices := make(map[string]bool)
	for _, d := range which.Devices {
		id, ok := t.full(d)
		if !ok {
			return fmt.Errorf("twin.devices: %.100q is of another namespace: a Pipeline has the devices of its own", d)
		}
		devices[id] = true
	}
	wants := func(k twinKey) bool {
		return strings.HasPrefix(k.device, t.namespace+"/") && (len(devices) == 0 || devices[k.device]) &&
			(len(which.Properties) == 0 || slices.Contains(which.Properties, k.property))
	}
	return t.watchThose(ctx, &twinWatcher{wants: wants, selects: selects}, func(ctx context.Context, v pipeline.TwinValue) error { return handle(ctx, t.short(v)) })
}

// SetDesired sets a desired value of a device of the namespace.
func (t scopedTwins) SetDesired(ctx context.Context, device, property string, value any) error {
	id, ok := t.full(device)
	if !ok {
		return fmt.Errorf("%w: device %.100q is of another namespace: a Pipeline has the devices of its own", pipeline.ErrRefused, device)
	}
	return t.twins.SetDesired(ctx, id, property, value)
}
