package devices

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/twins"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// maxWaiting bounds the bytes of reports that wait to be written. A node whose report has no
// room waits until others are written.
const maxWaiting = 128 << 20

// A report is acknowledged when it is received, long before it is written: else a node with
// many devices would wait for the API server, and nobody saw its values live. Nothing is lost
// with a cloudcore that dies, since each new session asks the node for the reports of all its
// devices (see Resend).

// report is what this cloudcore knows of one DeviceStatus. The queue of turns lets one
// goroutine at a time write it; mu guards the fields.
type report struct {
	mu       sync.Mutex
	node     string    // that reported
	body     []byte    // the newest report as JSON; nil if none was received in this node's session
	received time.Time // when
	waiting  int64     // bytes that count for maxWaiting: the body is not written yet
	state    string    // of the newest report
	verdict  string    // conditions of the newest report, for comparison
	base     string    // resource version of the DeviceStatus when it was last seen here
	gone     bool      // the device is gone, and this value is not in use any more

	written written
	failed  int // attempts in a row
}

// written is what was last written of a device.
type written struct {
	uid     types.UID         // of the DeviceStatus; "" for nothing
	sum     [sha256.Size]byte // of the JSON that was applied to the DeviceStatus
	summary v1beta1.Summary
	state   string
	bad     []string  // types of the node's conditions that are False
	since   time.Time // when values could no longer be stored; zero if all could
}

// Writers returns the writer of a node's reports about devices.
func (c *Controller) Writers() map[string]nodesync.Writer {
	return map[string]nodesync.Writer{resources.DeviceStatuses: c.receive}
}

// Resend returns the keys of the reports that a node has to send again when its session
// begins: those of all its devices. What it reported before is not kept here, or may have
// been acknowledged by a cloudcore that died before it wrote it.
func (c *Controller) Resend(node string) []hub.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := make([]hub.Key, 0, len(c.byNode[node]))
	for name := range c.byNode[node] {
		keys = append(keys, hub.Key{Resource: resources.DeviceStatuses, Namespace: name.Namespace, Name: name.Name})
	}
	return keys
}

// receive takes a node's report about one of its devices. It returns when the report is in
// memory and has a turn.
func (c *Controller) receive(ctx context.Context, node string, obj hub.Object) error {
	name := cache.Name{Namespace: obj.Key.Namespace, Name: obj.Key.Name}
	if obj.Deleted {
		return nil // the API server deletes a DeviceStatus with its Device
	}
	var status v1beta1.DeviceStatusStatus
	if err := jsonlimit.Unmarshal(obj.Body, &status); err != nil {
		return nodesync.Invalid(obj.Key, fmt.Errorf("body is not the JSON of a device's status: %w", err))
	}
	status.Conditions = slices.DeleteFunc(status.Conditions, func(cond metav1.Condition) bool { return !nodeOwns(cond.Type) })
	device, err := c.device(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return nodesync.FromAPI(err)
	case device.Spec.NodeName != node:
		return nodesync.Forbidden(obj.Key, notAtNode)
	}
	body, err := json.Marshal(status)
	if err != nil {
		return nodesync.Invalid(obj.Key, err)
	}
	size := int64(len(body))
	if err := c.waiting.Acquire(ctx, size); err != nil {
		return fmt.Errorf("devices: wait for other reports to be written: %w", err)
	}
	r := c.reportOf(name)
	r.mu.Lock()
	if r.gone {
		r.mu.Unlock()
		c.waiting.Release(size)
		return nil
	}
	c.waiting.Release(r.waiting)
	urgent := r.hold(node, body, status)
	r.waiting = size
	if seen := c.versionOf(name); cache.Compare(seen, r.base) > 0 {
		r.base = seen
	}
	received := r.received
	r.mu.Unlock()
	c.show(device, body, received)
	c.turns.add(name, urgent)
	return nil
}

// hold keeps the newest report. It reports whether the state or a condition changed; those of
// the first report are not, since after a start of cloudcore all reports are first ones.
// The caller holds r.mu.
func (r *report) hold(node string, body []byte, status v1beta1.DeviceStatusStatus) bool {
	verdict := fmt.Sprint(status.Conditions)
	changed := r.body != nil && (r.state != status.State || r.verdict != verdict)
	r.node, r.body, r.received, r.state, r.verdict = node, body, time.Now(), status.State, verdict
	return changed
}

// maxNodeConditions is how many conditions of a node's report are kept.
const maxNodeConditions = 32

// nodeOwns reports whether a node may set this condition of a DeviceStatus: any that the cloud
// does not set and that has no domain, such as example.com/Calibrated. Those are others'.
func nodeOwns(conditionType string) bool {
	switch conditionType {
	case "", v1beta1.ConditionModelFound, v1beta1.ConditionValuesStored:
		return false
	}
	return !slices.Contains([]byte(conditionType), '/')
}

// notAtNode is why a node's report about a device is refused.
const notAtNode = "the device is at another node, or gone"

func (c *Controller) device(ctx context.Context, name cache.Name) (*v1beta1.Device, error) {
	if item, ok := c.devices.Load(name); ok {
		return item.Object, nil
	}
	return c.readDevice(ctx, name.Namespace, name.Name)
}

// versionOf is the resource version of a DeviceStatus as far as the watch has come.
func (c *Controller) versionOf(name cache.Name) string {
	if item, ok := c.statuses.Load(name); ok {
		return item.Object.ResourceVersion
	}
	return ""
}

func (c *Controller) reportOf(name cache.Name) *report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.reports[name]
	if r == nil {
		r = &report{}
		c.reports[name] = r
	}
	return r
}

// show puts a report into Config.Live. received is zero for one that was read from the
// DeviceStatus.
func (c *Controller) show(device *v1beta1.Device, status []byte, received time.Time) {
	c.cfg.Live.Put(twins.Report{
		Namespace: device.Namespace, Name: device.Name, UID: device.UID, Labels: device.Labels, Created: device.CreationTimestamp,
		Node: device.Spec.NodeName, Status: status, Received: received,
	})
}

// showStored puts what a DeviceStatus says into Config.Live, unless the node's own reports come
// here.
func (c *Controller) showStored(s *v1beta1.DeviceStatus) {
	name := cache.Name{Namespace: s.Namespace, Name: s.Name}
	item, ok := c.devices.Load(name)
	if !ok {
		return // the Device is gone, or its next report shows it
	}
	device := item.Object
	if node := device.Spec.NodeName; node != "" && c.notifier.Subscribed(node) {
		if r := c.lastReport(name); r != nil {
			return
		}
	}
	if body, err := json.Marshal(s.Status); err == nil {
		c.show(device, body, time.Time{})
	}
}

// lastReport returns the report of a device, if one was received, else nil.
func (c *Controller) lastReport(name cache.Name) *report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reports[name]
}

// forget drops what is known of a device that is gone.
func (c *Controller) forget(name cache.Name) {
	c.mu.Lock()
	r := c.reports[name]
	delete(c.reports, name)
	c.mu.Unlock()
	if r != nil {
		r.mu.Lock()
		c.waiting.Release(r.waiting)
		r.waiting, r.gone = 0, true
		r.mu.Unlock()
	}
	c.turns.remove(name)
	c.eventLimits.forget(name)
	c.cfg.Live.Delete(name.Namespace, name.Name)
}

// endSession drops what is kept of a node's reports for its session: the next one sends all of
// them again. Those that are not written yet are dropped when they are.
func (c *Controller) endSession(node string) {
	c.mu.Lock()
	var reports []*report
	for name := range c.byNode[node] {
		if r := c.reports[name]; r != nil {
			reports = append(reports, r)
		}
	}
	c.mu.Unlock()
	for _, r := range reports {
		r.release()
	}
}

// release drops a report that is written. What was written is dropped too: until the next
// session here, another cloudcore may write.
func (r *report) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == 0 {
		r.body = nil
	}
	r.written = r.written.summarized()
}

// summarized is what was written, as far as events and the summary need it.
func (w written) summarized() written {
	return written{summary: w.summary, state: w.state, bad: w.bad, since: w.since}
}
