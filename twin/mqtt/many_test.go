package mqtt_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/device"
	devicemqtt "github.com/edgekit/edgekit/device/mqtt"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

const mappers = 4 // each has one protocol, and a quarter of the devices

// manyChange is a change of one device, or of the model that all devices of a protocol have.
type manyChange struct {
	Device  int // with Model below 0
	Model   int // the number of a protocol
	Version int
}

// devices returns the numbers of the devices that the change is about.
func (c manyChange) devices() (ids []int) {
	if c.Model < 0 {
		return []int{c.Device}
	}
	for i := c.Model; i < manyCount; i += mappers {
		ids = append(ids, i)
	}
	return ids
}

// manyVersions are the versions of what a mapper is to see of a device.
type manyVersions struct{ device, model int }

func (v manyVersions) put(i int) (twin.Put, error) {
	spec := schema.DeviceSpec{Protocol: schema.Protocol{Name: fmt.Sprint("protocol-", i%mappers)}}
	model := schema.DeviceModelSpec{}
	for p := range 8 {
		name := fmt.Sprint("property-", p)
		spec.Properties = append(spec.Properties, schema.Property{Name: name, CollectCycle: int64(1000 + v.device)})
		model.Properties = append(model.Properties, schema.ModelProperty{
			Name: name, Type: schema.TypeInt, AccessMode: schema.ReadWrite, Description: fmt.Sprintf("version %d of a property %s", v.model, strings.Repeat("x", 200)),
		})
	}
	return devicespec.Declare(spec, model)
}

// manyDevices is a node with 1,000 devices, whose owner makes the changes that it reads.
func manyDevices(ctx context.Context, cfg chaosConfig) error {
	if !underRace { // it takes more than that, and would collect garbage all the time
		debug.SetMemoryLimit(48 << 20) // as edgecore does
	}
	store, err := badgerstore.Open(badgerstore.Config{Dir: cfg.Store, KeyFile: cfg.Store + ".key"})
	if err != nil {
		return err
	}
	engine, err1 := twin.New(twin.Config{Store: store})
	b, err2 := embeddedBus(cfg.Listen, store)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	group, ctx, err := runTwins(ctx, engine, b)
	if err != nil {
		return err
	}
	group.Go(func() error {
		versions := make([]manyVersions, manyCount)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var change manyChange
			if err := json.Unmarshal(in.Bytes(), &change); err != nil {
				return err
			}
			var calls []twin.Call
			for _, i := range change.devices() {
				if change.Model < 0 {
					versions[i].device = change.Version
				} else {
					versions[i].model = change.Version
				}
				put, err := versions[i].put(i)
				if err != nil {
					return err
				}
				calls = append(calls, twin.Call{Device: fmt.Sprintf("plant/d%d", i), Request: put})
			}
			for chunk := range slices.Chunk(calls, 64) { // as twin/devicesync does
				if _, err := engine.DoAll(ctx, chunk); err != nil {
					return err
				}
			}
		}
		<-ctx.Done()
		return nil
	})
	return group.Wait()
}

// TestManyMappers has 1,000 devices behind one node (200 with the race detector, which takes two
// minutes for 1,000: make norace has them), and four mappers. Each change of a device
// or of a model reaches the one mapper that it concerns, no mapper is cut off, and the node
// stays below 64 MiB. With BENCH=1, as make bench-twin has it, each change must also be there
// within a second; otherwise the times are only printed, since the machine may be busy.
func TestManyMappers(t *testing.T) {
	dir, err := os.MkdirTemp("", "many") // t.TempDir is too long for a unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "mqtt.sock")
	proxy, err := newLink("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(proxy.serve)
	defer serving.Wait()
	defer proxy.close()
	cfg, err := json.Marshal(chaosConfig{Part: "many", Store: filepath.Join(dir, "store"), Listen: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	program := exec.Command(os.Args[0])
	program.Env, program.Stderr = append(os.Environ(), chaosEnv+"="+string(cfg)), os.Stderr
	orders, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = program.Process.Kill()
		_ = program.Wait() // it was killed
	}()
	v := &manyView{orders: orders, want: make([]manyVersions, manyCount), got: make([]map[string]manyVersions, mappers), connects: make([]int, mappers), changed: make(chan struct{}, 1)}
	var stops []func() error
	for m := range mappers {
		stops = append(stops, v.mapper(t, m, proxy.url()))
	}
	defer func() {
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	}()
	added := time.Now()
	for m := range mappers { // the devices are added
		v.change(t, manyChange{Model: m, Version: 1})
	}
	for m := range mappers { // these follow what is left to publish of that
		v.change(t, manyChange{Model: -1, Device: m, Version: 1})
	}
	t.Logf("RESULT twin_1000_added %.1f s", time.Since(added).Seconds())
	r := rand.New(rand.NewPCG(1, 1))
	var took []time.Duration
	anon := memory(program.Process.Pid, "RssAnon:")
	for version := range number("CHANGES", 60) {
		change := manyChange{Model: -1, Device: r.IntN(manyCount), Version: version + 2}
		if version%10 == 9 {
			change = manyChange{Model: r.IntN(mappers), Version: version + 2}
		}
		begun := time.Now()
		v.change(t, change)
		took = append(took, time.Since(begun))
		anon = max(anon, memory(program.Process.Pid, "RssAnon:"))
	}
	slices.Sort(took)
	t.Logf("RESULT twin_reach_p50 %.1f ms", took[len(took)/2].Seconds()*1000)
	t.Logf("RESULT twin_reach_max %.1f ms", took[len(took)-1].Seconds()*1000)
	if worst := took[len(took)-1]; os.Getenv("BENCH") != "" && worst > time.Second {
		t.Errorf("a change took %v to its mapper", worst)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for m, n := range v.connects { // on a busy machine a mapper may wait too long for answers, and connect again
		if n != 1 && os.Getenv("BENCH") != "" {
			t.Errorf("mapper %d has connected %d times", m, n)
		}
	}
	for _, foreign := range v.foreign {
		t.Error(foreign)
	}
	// While the devices are added, badger keeps the memory of up to eight builders of tables.
	t.Logf("RESULT twin_1000_mappers_peak %.1f MiB", anon)
	rest := memory(program.Process.Pid, "RssAnon:")
	t.Logf("RESULT twin_1000_mappers_rss %.1f MiB", rest)
	if rest > 64 && !underRace {
		t.Errorf("the node takes %.1f MiB, the budget is 64", rest)
	}
}

// memory is one kind of memory of a program in MiB; 0 if the system does not say.
func memory(pid int, kind string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), kind)
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0
	}
	return kib / 1024
}

// manyView is what the mappers have seen.
type manyView struct {
	orders io.Writer
	want   []manyVersions // the test's goroutine owns it

	mu       sync.Mutex
	got      []map[string]manyVersions // of each mapper, by device
	connects []int                     // of each mapper
	foreign  []string                  // devices that a mapper should not have seen
	changed  chan struct{}             // has an element when got has changed
}

// mapper runs a mapper until stop is called.
func (v *manyView) mapper(t *testing.T, m int, url string) (stop func() error) {
	t.Helper()
	protocol := fmt.Sprint("protocol-", m)
	c, err := client.New(client.Config{URL: url, ClientID: protocol, SessionExpiry: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: c})
	if err != nil {
		t.Fatal(err)
	}
	link, err := devicemqtt.New(devicemqtt.Config{Bus: b, Node: chaosNode, Protocol: protocol})
	if err != nil {
		t.Fatal(err)
	}
	b.NotifyConnect(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.connects[m]++
	})
	running, endRun := context.WithCancel(t.Context())
	watching, endWatch := context.WithCancel(t.Context())
	ran, watched := make(chan error, 1), make(chan error, 1)
	go func() { ran <- b.Run(running) }()
	go func() {
		watched <- link.Watch(watching, func(list []device.Instance) {
			got := make(map[string]manyVersions, len(list))
			v.mu.Lock()
			defer v.mu.Unlock()
			for _, d := range list {
				if d.Spec.Protocol.Name != protocol {
					v.foreign = append(v.foreign, fmt.Sprintf("%s got %s of %s", protocol, d.ID, d.Spec.Protocol.Name))
				}
				var seen manyVersions
				_, err := fmt.Sscanf(d.Model.Properties[0].Description, "version %d", &seen.model)
				seen.device = int(d.Spec.Properties[0].CollectCycle - 1000)
				if err == nil {
					got[d.ID] = seen
				}
			}
			v.got[m] = got
			select {
			case v.changed <- struct{}{}:
			default:
			}
		})
	}()
	return func() error {
		endWatch()
		err := <-watched
		endRun() // after it: the subscriptions end while there is a connection
		return errors.Join(err, <-ran)
	}
}

// change makes a change and waits until the mapper concerned has it.
func (v *manyView) change(t *testing.T, change manyChange) {
	t.Helper()
	order, err := json.Marshal(change)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.orders.Write(append(order, '\n')); err != nil {
		t.Fatal(err)
	}
	for _, i := range change.devices() {
		if change.Model < 0 {
			v.want[i].device = change.Version
		} else {
			v.want[i].model = change.Version
		}
	}
	for !v.has(change.devices()) {
		select {
		case <-v.changed:
		case <-time.After(5 * time.Minute):
			t.Fatalf("%+v never reached its mapper", change)
		}
	}
}

func (v *manyView) has(devices []int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, i := range devices {
		if v.got[i%mappers][fmt.Sprintf("plant/d%d", i)] != v.want[i] {
			return false
		}
	}
	return true
}
