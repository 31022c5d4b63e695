package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	mqttbroker "github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/metastore"
	pipelinehost "github.com/edgekit/edgekit/bus/pipeline/host"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// asProgram is the variable by which this test binary is edgepipe.
const asProgram = "EDGEPIPE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const patience = 2 * time.Minute

// edge is an edgecore as far as pipelines concern it: a store, a broker and a Host, which runs
// this test binary as edgepipe.
type edge struct {
	folder string
	store  meta.Store
	broker *mqttbroker.Broker
	host   *pipelinehost.Host
	killed int // the last pid that kill has killed

	mu      sync.Mutex
	reports map[string]*wire.Report
	changed chan struct{}
}

func (e *edge) Update(_ context.Context, o meta.Object) error {
	r, err := wire.DecodeReport(o.Body)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reports[o.Key.Name] = r
	close(e.changed)
	e.changed = make(chan struct{})
	return nil
}

func (e *edge) Delete(context.Context, meta.Object) error { return nil }

// until waits until the node says what check wants of a Pipeline.
func (e *edge) until(t *testing.T, name string, check func(r *wire.Report) bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		e.mu.Lock()
		r, changed := e.reports[name], e.changed
		e.mu.Unlock()
		if r != nil && check(r) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("the node says %+v", r)
		}
	}
}

func running(r *wire.Report) bool { return r.State == wire.Running }

// newEdge runs an edge until the test ends.
func newEdge(t *testing.T) *edge {
	t.Helper()
	folder, err := os.MkdirTemp("", "ep") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(folder, "meta")})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if file := os.Getenv("EDGEPIPE"); file != "" {
		self = file // a built edgepipe, to measure its memory
	}
	script := fmt.Sprintf("#!/bin/sh\necho $$ > %s/pid\n%s=1 exec %s \"$@\"\n", folder, asProgram, self)
	if err := os.WriteFile(filepath.Join(folder, "edgepipe"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	e := &edge{folder: folder, store: store, reports: make(map[string]*wire.Report), changed: make(chan struct{})}
	socket := "unix://" + filepath.Join(folder, wire.MQTTSocket)
	if e.broker, err = mqttbroker.New(mqttbroker.Config{Address: socket, Storage: metastore.New(store, "mqtt/")}); err != nil {
		t.Fatal(err)
	}
	mqtt := wire.MQTT{URL: socket, Session: "edgepipe/edge-7/"}
	e.host, err = pipelinehost.New(pipelinehost.Config{
		Store: store, Reporter: e, Node: "edge-7", Folder: folder, Program: filepath.Join(folder, "edgepipe"), MQTT: mqtt, StatusEvery: 10 * time.Millisecond, MaxBatches: 4,
		EndSession: func(ctx context.Context, id string) error {
			return client.EndSession(ctx, client.Config{URL: socket, ClientID: id})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{e.broker.Run, e.host.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		store.Close()
		os.RemoveAll(folder)
	})
	<-e.broker.Ready()
	return e
}

// apply brings a Pipeline to the node.
func (e *edge) apply(t *testing.T, name string, generation int, spec string) {
	t.Helper()
	k := meta.Key{Resource: wire.Pipelines, Namespace: "plant", Name: name}
	body := fmt.Sprintf(`{"apiVersion":"pipelines.edgekit.io/v1alpha1","kind":"Pipeline","metadata":{"namespace":"plant","name":%q,"uid":"u","generation":%d},"spec":%s}`, name, generation, spec)
	if _, err := e.store.Apply(t.Context(), meta.Op{Key: meta.Down + k.Path(), Value: meta.EncodeObject(meta.Object{Key: k, Version: strconv.Itoa(generation), Body: []byte(body), Stored: time.Now()})}); err != nil {
		t.Fatal(err)
	}
}

// event is what a test reads of a CloudEvent.
type event struct {
	ID      string         `json:"id"`
	Subject string         `json:"subject"`
	Data    map[string]any `json:"data"`
}

// drain takes batches from the outbox, as the link does, until enough is content. It returns the
// events, and the bytes of the batches.
func (e *edge) drain(t *testing.T, enough func(all []event) bool) (all []event, size int) {
	t.Helper()
	out := e.host.Outbox()
	wake := make(chan struct{}, 1)
	stop := out.Subscribe(func(string) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer stop()
	limit := time.After(patience)
	for !enough(all) {
		sources, err := out.Sources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		some := false
		for source := range sources {
			one, err := out.Next(t.Context(), source, 0)
			if errors.Is(err, io.EOF) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := wire.DecodeBatch(one.Body)
			if err != nil {
				t.Fatal(err)
			}
			all, size, some = append(all, decode(t, &b)...), size+len(one.Body), true
			if err := out.Acked(t.Context(), source, one.ID); err != nil {
				t.Fatal(err)
			}
		}
		if some {
			continue
		}
		select {
		case <-wake:
		case <-limit:
			t.Fatalf("%d events came", len(all))
		}
	}
	return all, size
}

func decode(t *testing.T, b *wire.Batch) []event {
	t.Helper()
	body := b.Body
	if b.Encoding == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	if b.Events == 1 {
		body = append(append([]byte("["), body...), ']')
	}
	var list []event
	if err := json.Unmarshal(body, &list); err != nil || len(list) != b.Events {
		t.Fatalf("%d events of %d: %v in %s", len(list), b.Events, err, body)
	}
	return list
}

// pid is edgepipe's, once one runs that kill has not killed.
func (e *edge) pid(t *testing.T) (pid int) {
	t.Helper()
	hubtest.Until(t, "edgepipe has written its pid", func() bool {
		text, err := os.ReadFile(filepath.Join(e.folder, "pid"))
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text))) // it may be half-written
		return err == nil && pid != e.killed
	})
	return pid
}

// memory prints what edgepipe has in memory: RESULT lines in KiB.
func (e *edge) memory(t *testing.T, name string) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.pid(t)))
	if err != nil {
		t.Skip("the memory is not measured here: ", err)
	}
	for line := range strings.Lines(string(status)) {
		if field, value, _ := strings.Cut(line, ":"); field == "VmRSS" || field == "RssAnon" {
			fmt.Printf("RESULT %s_%s %s KiB\n", name, strings.ToLower(field), strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		}
	}
}

// kill kills edgepipe as a crash or the kernel does.
func (e *edge) kill(t *testing.T) {
	t.Helper()
	e.killed = e.pid(t)
	if err := syscall.Kill(e.killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// room waits until little waits in the broker's sessions: a test that publishes without a pause is
// faster than sensors are, and a session drops what is beyond its bound.
func (e *edge) room(t *testing.T) {
	t.Helper()
	tick, limit := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for e.broker.Stats().QueuedBytes > 2<<20 {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("nobody takes the broker's messages")
		}
	}
}

func (e *edge) publish(t *testing.T, topic, payload string) {
	t.Helper()
	if err := e.broker.Publish(t.Context(), bus.Message{Topic: topic, Payload: []byte(payload), QoS: bus.AtLeastOnce}); err != nil {
		t.Fatal(err)
	}
}
