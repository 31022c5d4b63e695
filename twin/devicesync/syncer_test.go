package devicesync_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicesync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outbox is a Reporter on a store, like meta/manager, that counts reports.
type outbox struct {
	meta.Store
	mu    sync.Mutex
	count int
}

func (o *outbox) Update(ctx context.Context, obj meta.Object) error {
	o.mu.Lock()
	o.count++
	o.mu.Unlock()
	_, err := o.Apply(ctx, meta.Op{Key: meta.Up + obj.Key.Path(), Value: meta.EncodeObject(obj)})
	return err
}

func (o *outbox) reports() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}

// status reads the report that waits for the cloud.
func (o *outbox) status(t *testing.T, id string) (s v1beta1.DeviceStatusStatus, ok bool) {
	t.Helper()
	r, err := o.Get(t.Context(), meta.Up+"devicestatuses/"+id)
	if errors.Is(err, meta.ErrNotFound) {
		return s, false
	}
	if err != nil {
		t.Fatal(err)
	}
	obj, err := meta.DecodeObject(meta.Up, r)
	if err := errors.Join(err, json.Unmarshal(obj.Body, &s)); err != nil {
		t.Fatal(err)
	}
	return s, true
}

// down does what the cloud does: it puts an object on the node.
func (o *outbox) down(t *testing.T, resource, id, body string) {
	t.Helper()
	op := meta.Op{Key: meta.Down + resource + "/" + id, Delete: body == ""}
	if body != "" {
		op.Value = meta.EncodeObject(meta.Object{Version: "1", Body: []byte(body)})
	}
	if _, err := o.Apply(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

const model = `{"metadata":{"namespace":"plant","name":"boiler-model"},"spec":{"protocol":"modbus","properties":[
	{"name":"temperature","type":"INT","accessMode":"ReadOnly"},{"name":"target","type":"INT","accessMode":"ReadWrite"}]}}`

func boiler(generation int, desired string) string {
	return fmt.Sprintf(`{"metadata":{"namespace":"plant","name":"boiler","uid":"u1","generation":%d},
		"spec":{"deviceModelRef":{"name":"boiler-model"},"nodeName":"edge-7","properties":[
		{"name":"temperature","reportToCloud":true,"reportCycle":10000},
		{"name":"target","desired":{"value":%q},"reportToCloud":true},
		{"name":"secret"}]}}`, generation, desired)
}

// run runs engine and syncer on the store.
func run(t *testing.T, o *outbox) (engine *twin.Engine, stop func()) {
	engine, _, stop = runBoth(t, o)
	return engine, stop
}

func runBoth(t *testing.T, o *outbox) (engine *twin.Engine, syncer *devicesync.Syncer, stop func()) {
	t.Helper()
	engine, err := twin.New(twin.Config{Store: o})
	if err != nil {
		t.Fatal(err)
	}
	syncer, err = devicesync.New(devicesync.Config{Engine: engine, Store: o, Reporter: o})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- syncer.Run(ctx) }()
	go func() { ended <- engine.Run(ctx) }()
	return engine, syncer, func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
}

func set(t *testing.T, engine *twin.Engine, property, value string) {
	t.Helper()
	if _, err := engine.Update(t.Context(), "plant/boiler", map[string]*twin.Patch{property: {Actual: &value}}); err != nil {
		t.Fatal(err)
	}
}

// checkOneReport changes many values within a second: they become one report.
func checkOneReport(t *testing.T, o *outbox, engine *twin.Engine) {
	t.Helper()
	before := o.reports()
	for i := range 50 {
		set(t, engine, "target", fmt.Sprint(i))
	}
	set(t, engine, "secret", "x")
	if err := engine.SetState(t.Context(), "plant/boiler", "online"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	synctest.Wait()
	if n := o.reports() - before; n != 1 {
		t.Errorf("%d reports, want 1", n)
	}
	s, _ := o.status(t, "plant/boiler")
	if s.State != "online" || len(s.Twins) != 1 || s.Twins[0].Reported.Value != "49" {
		t.Errorf("report is %+v", s)
	}
}

func TestRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{Store: memstore.New()}
		defer o.Close()
		engine, stop := run(t, o)
		o.down(t, "devices", "plant/boiler", boiler(1, "45"))
		synctest.Wait()
		if n := len(engine.Devices()); n != 0 {
			t.Fatalf("%d devices without a model", n)
		}
		o.down(t, "devicemodels", "plant/boiler-model", model)
		synctest.Wait()
		d, ok := engine.Device("plant/boiler")
		if !ok || d.Twins["target"].Type != "int" || d.Twins["target"].Expected.Value != "45" {
			t.Fatalf("device is %+v", d)
		}
		if s, _ := o.status(t, "plant/boiler"); len(s.Twins) != 1 || s.Twins[0].ObservedDesired.Value != "45" || s.ObservedGeneration != 1 {
			t.Errorf("first report is %+v", s)
		}

		checkOneReport(t, o, engine)

		// A property with a reportCycle is reported once per cycle, newest last.
		set(t, engine, "temperature", "20")
		time.Sleep(2 * time.Second)
		set(t, engine, "temperature", "21")
		set(t, engine, "temperature", "22")
		time.Sleep(2 * time.Second)
		if v := reported(t, o, "temperature"); v != "20" {
			t.Errorf("within the cycle: %s, want 20", v)
		}
		time.Sleep(10 * time.Second)
		if v := reported(t, o, "temperature"); v != "22" {
			t.Errorf("after the cycle: %s, want 22", v)
		}

		// A restart finds nothing to do.
		stop()
		before := o.reports()
		_, stop = run(t, o)
		time.Sleep(3 * time.Second)
		if n := o.reports() - before; n != 0 {
			t.Errorf("%d reports after a restart, want none", n)
		}

		// The Device is deleted while the syncer does not run: the next start removes it.
		stop()
		o.down(t, "devices", "plant/boiler", "")
		engine, stop = run(t, o)
		time.Sleep(3 * time.Second)
		if n := len(engine.Devices()); n != 0 {
			t.Errorf("%d devices are left", n)
		}
		if _, ok := o.status(t, "plant/boiler"); ok {
			t.Error("the report is left in the outbox")
		}
		stop()
	})
}

// TestReportsWhileTheLinkIsDown: a device changes ten times a second. Without a link it
// is reported every ten seconds, and at once when the link is back.
func TestReportsWhileTheLinkIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{Store: memstore.New()}
		defer o.Close()
		engine, syncer, stop := runBoth(t, o)
		defer func() { stop() }()
		o.down(t, "devicemodels", "plant/boiler-model", model)
		o.down(t, "devices", "plant/boiler", boiler(1, "45"))
		synctest.Wait()
		n := 0
		minute := func() int {
			before := o.reports()
			for range 600 {
				n++
				set(t, engine, "target", fmt.Sprint(n))
				time.Sleep(100 * time.Millisecond)
			}
			return o.reports() - before
		}
		if got := minute(); got < 58 || got > 62 {
			t.Errorf("%d reports a minute with the link", got)
		}
		syncer.Connected(false)
		if got := minute(); got < 5 || got > 8 {
			t.Errorf("%d reports a minute without the link", got)
		}
		syncer.Connected(true)
		synctest.Wait()
		if got := reported(t, o, "target"); got != fmt.Sprint(n) {
			t.Errorf("reported is %s when the link is back, want %d", got, n)
		}
		if got := minute(); got < 58 || got > 62 {
			t.Errorf("%d reports a minute with the link again", got)
		}
	})
}

func reported(t *testing.T, o *outbox, property string) string {
	t.Helper()
	synctest.Wait()
	s, _ := o.status(t, "plant/boiler")
	for _, tw := range s.Twins {
		if tw.PropertyName == property && tw.Reported != nil {
			return tw.Reported.Value
		}
	}
	return ""
}

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{Store: memstore.New()}
		defer o.Close()
		o.down(t, "devicemodels", "plant/boiler-model", model)
		o.down(t, "devices", "plant/boiler", boiler(1, "45"))
		o.down(t, "devices", "plant/broken", `{"metadata":[]}`)
		engine, stop := run(t, o)
		defer stop()
		if err := engine.Put(t.Context(), "local/own", twin.Put{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		// A desired value of the wrong type is not adopted, and the condition says so.
		o.down(t, "devices", "plant/boiler", boiler(2, "hot"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		d, _ := engine.Device("plant/boiler")
		if d.Twins["target"].Expected.Value != "45" {
			t.Errorf("expected is %+v", d.Twins["target"].Expected)
		}
		s, _ := o.status(t, "plant/boiler")
		if len(s.Conditions) != 1 || s.Conditions[0].Status != "False" || s.Conditions[0].Type != devicesync.ConditionDesiredValid {
			t.Errorf("conditions are %+v", s.Conditions)
		}
		o.down(t, "devices", "plant/boiler", boiler(3, "50"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s, _ = o.status(t, "plant/boiler")
		if len(s.Conditions) != 1 || s.Conditions[0].Status != "True" || s.ObservedGeneration != 3 {
			t.Errorf("status is %+v", s)
		}

		// A changed model reaches its devices.
		o.down(t, "devicemodels", "plant/boiler-model", `{"metadata":{"namespace":"plant","name":"boiler-model"},"spec":{"protocol":"opcua","properties":[{"name":"target","type":"FLOAT","accessMode":"ReadWrite"}]}}`)
		synctest.Wait()
		d, _ = engine.Device("plant/boiler")
		if d.Twins["target"].Type != "float" || d.Twins["target"].Expected.Value != "50" {
			t.Errorf("after the model changed: %+v", d.Twins["target"])
		}

		// Only devices from the cloud go with their Device.
		o.down(t, "devices", "plant/boiler", "")
		o.down(t, "devices", "local/own", "")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if list := engine.Devices(); len(list) != 1 || list[0].ID != "local/own" {
			t.Errorf("devices are %+v", list)
		}
	})
}

// TestDesiredValid has Devices that desire what their model does not allow: the value does
// not reach the twin, and the condition says why.
func TestDesiredValid(t *testing.T) {
	const limited = `{"metadata":{"namespace":"plant","name":"m"},"spec":{"properties":[
		{"name":"target","type":"INT","accessMode":"ReadWrite","minimum":"10","maximum":"80"},
		{"name":"temperature","type":"FLOAT","accessMode":"ReadOnly"},
		{"name":"local","type":"STRING","accessMode":"ReadWrite","desiredBy":"edge"}]}}`
	for property, want := range map[string]struct{ desired, reason, message string }{
		"target":      {"900", "OutOfRange", `target: expected value "900" is above the model's maximum 80`},
		"temperature": {"20", "NotAllowed", "temperature: the model says that the property is ReadOnly: it takes no expected value"},
		"local":       {"x", "NotAllowed", "local: only clients on the node may set the expected value"},
		"pressure":    {"20", "NotInModel", "pressure: the model has no such property: the value is not checked, and drivers of the SDK do not write it"},
	} {
		t.Run(property, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &outbox{Store: memstore.New()}
				defer o.Close()
				o.down(t, "devicemodels", "plant/m", limited)
				o.down(t, "devices", "plant/boiler", fmt.Sprintf(`{"metadata":{"namespace":"plant","name":"boiler","uid":"u1","generation":1},
					"spec":{"deviceModelRef":{"name":"m"},"properties":[{"name":%q,"desired":{"value":%q}}]}}`, property, want.desired))
				engine, stop := run(t, o)
				defer stop()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				d, _ := engine.Device("plant/boiler")
				if taken := d.Twins[property].Expected != nil; taken != (want.reason == "NotInModel") {
					t.Errorf("expected is %+v", d.Twins[property].Expected)
				}
				s, _ := o.status(t, "plant/boiler")
				if len(s.Conditions) != 1 || s.Conditions[0].Status != "False" || s.Conditions[0].Reason != want.reason || s.Conditions[0].Message != want.message {
					t.Errorf("conditions are %+v", s.Conditions)
				}
			})
		})
	}
}

// TestMeasured has a mapper say when it read a value: the DeviceStatus says so too.
func TestMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{Store: memstore.New()}
		defer o.Close()
		o.down(t, "devicemodels", "plant/m", `{"metadata":{"namespace":"plant","name":"m"},"spec":{"properties":[{"name":"temperature","type":"INT"},{"name":"level","type":"INT"}]}}`)
		o.down(t, "devices", "plant/boiler", `{"metadata":{"namespace":"plant","name":"boiler","uid":"u1","generation":1},"spec":{"deviceModelRef":{"name":"m"},
			"properties":[{"name":"temperature","reportToCloud":true},{"name":"level","reportToCloud":true}]}}`)
		engine, stop := run(t, o)
		defer stop()
		time.Sleep(2 * time.Second)
		read := time.Now().UnixMilli()
		time.Sleep(2 * time.Second)
		if _, err := engine.Update(t.Context(), "plant/boiler", map[string]*twin.Patch{
			"temperature": {Actual: twin.Text("21"), Measured: read}, "level": {Actual: twin.Text("7")},
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s, _ := o.status(t, "plant/boiler")
		want := map[string]string{"temperature": fmt.Sprint(read), "level": ""}
		for _, p := range s.Twins {
			if got := p.Reported.Metadata["measured"]; got != want[p.PropertyName] || p.Reported.Metadata["timestamp"] == got {
				t.Errorf("%s has the metadata %v, want measured %q", p.PropertyName, p.Reported.Metadata, want[p.PropertyName])
			}
			delete(want, p.PropertyName)
		}
		if len(want) != 0 {
			t.Errorf("values are missing: %v", want)
		}
	})
}
