package console

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/resources"
)

const (
	maxTwins = 1000 // of one device
	maxValue = 4096 // bytes of a value
)

// deviceIndex has all Devices in the orders of their lists, and counts them by namespace.
type deviceIndex struct {
	rows *table[deviceRow]

	mu     sync.Mutex
	counts map[string]deviceCounts // by namespace
}

// deviceRow is a device and the text that a search looks into: names one after the other, since
// a search looks at each row.
type deviceRow struct {
	*v1beta1.Device
	text string
}

func newDeviceRow(d *v1beta1.Device) *deviceRow {
	if d == nil {
		return nil
	}
	return &deviceRow{d, d.Namespace + "\n" + d.Name + "\n" + d.Spec.NodeName}
}

// deviceCounts are the devices in a summary.
type deviceCounts struct {
	Total  int `json:"total"`
	Online int `json:"online"`
}

func newDeviceIndex() *deviceIndex {
	return &deviceIndex{rows: newTable(deviceOrders()), counts: make(map[string]deviceCounts)}
}

func deviceOrders() map[string]order[deviceRow] {
	by := func(value func(*deviceRow) string, pivot func(*deviceRow, string)) order[deviceRow] {
		return order[deviceRow]{
			less: func(a, b *deviceRow) bool {
				return cmp.Or(strings.Compare(value(a), value(b)), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name)) < 0
			},
			cursor: func(d *deviceRow) cursor {
				return cursor{Value: value(d), Namespace: d.Namespace, Name: d.Name}
			},
			pivot: func(c cursor) *deviceRow {
				d := &deviceRow{Device: new(v1beta1.Device)}
				d.Namespace, d.Name = c.Namespace, c.Name
				pivot(d, c.Value)
				return d
			},
		}
	}
	return map[string]order[deviceRow]{
		"name":  by(func(*deviceRow) string { return "" }, func(*deviceRow, string) {}),
		"node":  by(func(d *deviceRow) string { return d.Spec.NodeName }, func(d *deviceRow, v string) { d.Spec.NodeName = v }),
		"state": by(func(d *deviceRow) string { return d.Status.State }, func(d *deviceRow, v string) { d.Status.State = v }),
	}
}

// online reports whether a state counts as online.
func online(state string) bool { return state == "online" || state == "ok" }

// changed follows the store of Devices.
func (x *deviceIndex) changed(change cache.Change[*v1beta1.Device]) {
	x.rows.replace(newDeviceRow(change.Old), newDeviceRow(change.New))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.countLocked(change.Old, -1)
	x.countLocked(change.New, 1)
}

func (x *deviceIndex) countLocked(d *v1beta1.Device, by int) {
	if d == nil {
		return
	}
	n := x.counts[d.Namespace]
	n.Total += by
	if online(d.Status.State) {
		n.Online += by
	}
	if n.Total <= 0 {
		delete(x.counts, d.Namespace)
		return
	}
	x.counts[d.Namespace] = n
}

// namespaces lists the namespaces that have devices.
func (x *deviceIndex) namespaces() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	names := make([]string, 0, len(x.counts))
	for name := range x.counts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// summary counts the devices of a scope.
func (x *deviceIndex) summary(in scope) *deviceCounts {
	x.mu.Lock()
	defer x.mu.Unlock()
	sum := new(deviceCounts)
	for namespace, n := range x.counts {
		if in.has(namespace) {
			sum.Total += n.Total
			sum.Online += n.Online
		}
	}
	return sum
}

// deviceItem is a device in a list.
type deviceItem struct {
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Node       string `json:"node,omitempty"`
	State      string `json:"state,omitempty"`
	Model      string `json:"model,omitempty"`
	Protocol   string `json:"protocol,omitempty"`
	LastOnline string `json:"lastOnline,omitempty"`
	Values     string `json:"values,omitempty"`
}

func newDeviceItem(d *v1beta1.Device) deviceItem {
	item := deviceItem{
		Namespace: d.Namespace, Name: d.Name, Node: summary.Shorten(d.Spec.NodeName, maxSearch), State: summary.Shorten(d.Status.State, maxText),
		Model: summary.Shorten(d.Spec.ModelRef.Name, maxSearch), Protocol: summary.Shorten(d.Spec.Protocol.Name, maxText),
		Values: summary.Shorten(d.Status.Values, 512),
	}
	if d.Status.LastSeen != nil {
		item.LastOnline = stamp(d.Status.LastSeen.Time)
	}
	return item
}

func devicesRight(verb, resource, namespace, name string) authorizationv1.ResourceAttributes {
	gv := v1beta1.GroupVersion()
	return authorizationv1.ResourceAttributes{Verb: verb, Group: gv.Group, Version: gv.Version, Resource: resource, Namespace: namespace, Name: name}
}

func (s *Server) listDevices(q *request) (any, error) {
	return s.devicesOn(q, q.URL.Query().Get("node"))
}

func (s *Server) devicesOfNode(q *request) (any, error) { return s.devicesOn(q, q.PathValue("name")) }

// devicesOn lists devices, of one node or of all.
func (s *Server) devicesOn(q *request, node string) (any, error) {
	o, err := parseList(q.URL.Query(), "name", "node", "state")
	if err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	in, err := s.scopeOf(q.Context(), q.who, devicesRight("list", resources.Devices, "", ""), o.values.Get("namespace"), s.devices.namespaces)
	if err != nil {
		return nil, err
	}
	find, err := s.devices.query(o, node, in)
	if err != nil {
		return nil, err
	}
	rows, next, total, err := s.devices.rows.page(q.Context(), find)
	if err != nil {
		return nil, err
	}
	page := pageOf[deviceItem]{Items: make([]deviceItem, 0, len(rows)), Next: next, Total: total}
	for _, d := range rows {
		page.Items = append(page.Items, newDeviceItem(d.Device))
	}
	return page, nil
}

// query makes the query of a list of devices. A node, a state and namespaces are parts of
// an order, so that not all devices need be looked at.
func (x *deviceIndex) query(o listOptions, node string, in scope) (query[deviceRow], error) {
	q := query[deviceRow]{order: o.sort, desc: o.desc, limit: o.limit}
	state := o.values.Get("state")
	if o.sort == "name" && !o.desc {
		q.order, q.spans = deviceSpans(node, state, in)
	}
	switch {
	case node != "", state != "", o.search != "", !in.all && len(q.spans) == 0:
		q.keep = func(d *deviceRow) bool {
			return (in.all || in.in[d.Namespace]) && (node == "" || d.Spec.NodeName == node) && (state == "" || d.Status.State == state) &&
				(o.search == "" || strings.Contains(d.text, o.search))
		}
	case !in.all:
		q.known = x.summary(in).Total
	}
	var err error
	q.after, err = decodeCursor(o.values.Get("cursor"), sortName(q.order, q.desc))
	return q, err
}

// deviceSpans returns the order, and the parts of it, that have the devices of a node, in a
// state, or in some namespaces.
func deviceSpans(node, state string, in scope) (order string, spans []span[deviceRow]) {
	from := &deviceRow{Device: new(v1beta1.Device)}
	switch {
	case node != "":
		from.Spec.NodeName = node
		return "node", []span[deviceRow]{{from, func(d *deviceRow) bool { return d.Spec.NodeName == node }}}
	case state != "":
		from.Status.State = state
		return "state", []span[deviceRow]{{from, func(d *deviceRow) bool { return d.Status.State == state }}}
	}
	for _, namespace := range slices.Sorted(maps.Keys(in.in)) {
		if in.in[namespace] {
			from := &deviceRow{Device: new(v1beta1.Device)}
			from.Namespace = namespace
			spans = append(spans, span[deviceRow]{from, func(d *deviceRow) bool { return d.Namespace == namespace }})
		}
	}
	return "name", spans
}

// twinItem is one property of a device.
type twinItem struct {
	Property   string `json:"property"`
	Desired    string `json:"desired,omitempty"`
	Reported   string `json:"reported,omitempty"`
	ReportedAt string `json:"reportedAt,omitempty"`
	Unit       string `json:"unit,omitempty"`
	Type       string `json:"type,omitempty"`
}

// deviceDetail is everything about one device.
type deviceDetail struct {
	deviceItem
	Created    string          `json:"created,omitempty"`
	Conditions []nodeCondition `json:"conditions,omitempty"`
	Twins      []twinItem      `json:"twins"`
	// TwinsError says why there are no reported values.
	TwinsError string `json:"twinsError,omitempty"`
}

// device shows one device: its spec from the cache, and its values from its DeviceStatus, which
// is read with the user's token.
func (s *Server) device(q *request) (any, error) {
	namespace, name := q.PathValue("namespace"), q.PathValue("name")
	if err := s.must(q.Context(), q.who, devicesRight("get", resources.Devices, namespace, name)); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	item, ok := s.cfg.Devices.Devices().Load(cache.Name{Namespace: namespace, Name: name})
	if !ok {
		return nil, fail(http.StatusNotFound, "there is no device of this name")
	}
	d := item.Object
	detail := deviceDetail{deviceItem: newDeviceItem(d), Created: stamp(d.CreationTimestamp.Time)}
	gv := v1beta1.GroupVersion()
	var status v1beta1.DeviceStatus
	err := s.upstream.get(q.Context(), q.token, []string{"apis", gv.Group, gv.Version, "namespaces", namespace, resources.DeviceStatuses, name}, nil, &status)
	if err != nil {
		detail.TwinsError = err.Error()
	}
	for _, c := range status.Status.Conditions[:min(len(status.Status.Conditions), maxConditions)] {
		detail.Conditions = append(detail.Conditions, nodeCondition{
			Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: summary.Shorten(c.Message, maxMessage), Since: stamp(c.LastTransitionTime.Time),
		})
	}
	model, err := s.modelOf(q, d)
	if err != nil {
		return nil, err
	}
	detail.Twins = twinsOf(d, model, status.Status.Twins)
	return detail, nil
}

// modelOf returns a device's model; nil if there is none or the user may not get it.
func (s *Server) modelOf(q *request, d *v1beta1.Device) (*v1beta1.DeviceModel, error) {
	ok, err := s.may(q.Context(), q.who, devicesRight("get", resources.DeviceModels, d.Namespace, d.Spec.ModelRef.Name))
	if err != nil || !ok {
		return nil, err
	}
	return s.cfg.Devices.Model(d), nil
}

// twinsOf joins the properties of a device, of its model, and what was reported.
func twinsOf(d *v1beta1.Device, model *v1beta1.DeviceModel, reported []schema.Twin) []twinItem {
	items := make(map[string]*twinItem)
	of := func(property string) *twinItem {
		if items[property] == nil {
			if len(items) >= maxTwins {
				return new(twinItem)
			}
			items[property] = &twinItem{Property: summary.Shorten(property, maxText)}
		}
		return items[property]
	}
	for i := range d.Spec.Properties {
		item := of(d.Spec.Properties[i].Name)
		if v := d.Spec.Properties[i].Desired; v != nil {
			item.Desired = summary.Shorten(v.Value, maxValue)
		}
	}
	for i := range reported {
		item := of(reported[i].PropertyName)
		if v := reported[i].Reported; v != nil {
			item.Reported, item.ReportedAt = summary.Shorten(v.Value, maxValue), valueTime(v, time.Time{})
		}
	}
	if model != nil {
		for i := range model.Spec.Properties {
			p := &model.Spec.Properties[i]
			if item := items[p.Name]; item != nil {
				item.Unit, item.Type = summary.Shorten(p.Unit, maxText), string(p.Type)
			}
		}
	}
	out := make([]twinItem, 0, len(items))
	for _, item := range items {
		out = append(out, *item)
	}
	slices.SortFunc(out, func(a, b twinItem) int { return strings.Compare(a.Property, b.Property) })
	return out
}

// valueTime is when a value was reported: its own timestamp, or else the time otherwise.
func valueTime(v *schema.Value, otherwise time.Time) string {
	if ms, err := strconv.ParseInt(v.Metadata["timestamp"], 10, 64); err == nil && ms > 0 && ms < 1<<50 {
		return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	if otherwise.IsZero() {
		return ""
	}
	return otherwise.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
