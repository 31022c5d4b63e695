package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// healthy is the window of a healthy pump at a load of 0 to 1.
func healthy(load float64) [features]float64 {
	return [features]float64{1 + 2*load*load, 0.05 + 0.4*load, 4 + 10*load, 0.1 + 0.8*load}
}

func pumpModel(t testing.TB) *detector {
	t.Helper()
	d, err := newDetector(pumps)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestModel: healthy pumps pass at every load; faults whose values are all within the range of healthy pumps are
// found.
func TestModel(t *testing.T) {
	d := pumpModel(t)
	score := func(w [features]float64) float64 {
		t.Helper()
		s, err := d.score(w)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for load := 0.3; load <= 1; load += 0.05 {
		if s := score(healthy(load)); s > 1 {
			t.Errorf("a healthy pump at load %.2f has the score %.2f", load, s)
		}
	}
	for load := 0.5; load <= 0.75; load += 0.05 {
		worn, rough, dry := healthy(load), healthy(load), healthy(load)
		worn[0] += 0.8
		rough[1] *= 1.8
		dry[2] *= 0.7
		for name, w := range map[string][features]float64{"worn bearing": worn, "cavitation": rough, "runs dry": dry} {
			if s := score(w); s <= 1 {
				t.Errorf("%s at load %.2f has the score %.2f", name, load, s)
			}
		}
	}
}

// TestRefusedModels: a model that is no model, damaged, or of another shape fails at the start.
func TestRefusedModels(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, model := range [][]byte{nil, []byte("no model"), pumps[:len(pumps)/2], make([]byte, maxModelSize+1)} {
		if _, err := newDetector(model); err == nil {
			t.Errorf("a model of %d bytes is accepted", len(model))
		}
	}
	for range 500 { // nothing panics
		damaged := append([]byte(nil), pumps...)
		for range 4 {
			damaged[random.IntN(len(damaged))] = byte(random.Uint32())
		}
		_, _ = newDetector(damaged)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte(`{"device":"p","vibration":1.5,"vibrationDev":0.2,"current":9,"currentDev":0.5}`))
	f.Add([]byte(`{"device":"p","vibration":1e400}`))
	d := pumpModel(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		v, err := d.judge("p", payload)
		if err != nil {
			return
		}
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("%s: the verdict %v cannot be sent: %v", payload, v, err)
		}
	})
}

// TestJudge: verdicts over MQTT; windows that cannot be judged do not stop the others.
func TestJudge(t *testing.T) {
	inside, url := bustest.Broker(t)
	got := make(chan verdict, 16)
	stop, err := inside.Subscribe(verdicts+"+", func(_ context.Context, m bus.Message) {
		var v verdict
		if err := json.Unmarshal(m.Payload, &v); err != nil {
			t.Error(err)
		}
		got <- v
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&flags{Broker: url}).run(ctx, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	publish := func(device, body string) {
		t.Helper()
		if err := inside.Publish(t.Context(), bus.Message{Topic: windows + device, Payload: []byte(body), QoS: bus.AtLeastOnce, Retain: true}); err != nil {
			t.Fatal(err)
		}
	}
	publish("pump-0", `{"device":"pump-0","vibration":1.5}`)
	publish("pump-1", `not JSON`)
	publish("pump-2", `{"device":"pump-9","vibration":1.5,"vibrationDev":0.25,"current":9,"currentDev":0.5}`)
	publish("pump-3", `{"device":"pump-3","vibration":1.5,"vibrationDev":0.25,"current":9,"currentDev":0.5}`)
	publish("pump-4", `{"device":"pump-4","vibration":2.5,"vibrationDev":0.25,"current":9,"currentDev":0.5}`)
	for range 2 {
		select {
		case v := <-got:
			if v.Anomaly != (v.Device == "pump-4") || v.Device != "pump-3" && v.Device != "pump-4" {
				t.Errorf("verdict %+v", v)
			}
		case <-t.Context().Done():
			t.Fatal("no verdict")
		}
	}
}

// TestMemory builds the program as a node runs it and holds it against 32 MiB, the limit in deployment.yaml.
func TestMemory(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("builds a program, and reads /proc")
	}
	program := filepath.Join(t.TempDir(), "inference")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	inside, url := bustest.Broker(t)
	got := make(chan struct{}, 1)
	stop, err := inside.Subscribe(verdicts+"+", func(context.Context, bus.Message) { got <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--broker", url)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	first := bus.Message{Topic: windows + "p", Payload: []byte(`{"device":"p","vibration":1.5,"vibrationDev":0.25,"current":9,"currentDev":0.5}`), Retain: true}
	for range 5000 {
		if err := inside.Publish(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		select {
		case <-got:
		case <-ctx.Done():
			t.Fatal("no verdict in a minute")
		}
	}
	size, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			t.Logf("RESULT inference_rss_mib %.1f (after 5,000 windows), program_mib %.1f", float64(kib)/1024, float64(size.Size())/(1<<20))
			if err != nil || kib > 32<<10 {
				t.Errorf("the program holds %d KiB", kib)
			}
		}
	}
}

func BenchmarkScore(b *testing.B) {
	d, w := pumpModel(b), healthy(0.6)
	for b.Loop() {
		if _, err := d.score(w); err != nil {
			b.Fatal(err)
		}
	}
}
