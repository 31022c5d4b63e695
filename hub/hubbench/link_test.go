package hubbench_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubbench/processtest"
	"github.com/edgekit/edgekit/hub/hubtest"
)

func TestMain(m *testing.M) {
	switch processtest.Role() {
	case "cloud":
		os.Exit(processtest.Serve(&cloud{}))
	case "crew":
		os.Exit(processtest.Serve(&crew{}))
	case "bare-cloud":
		os.Exit(processtest.Serve(&bareCloud{}))
	case "bare-crew":
		os.Exit(processtest.Serve(bareCrew{}))
	}
	goleak.VerifyTestMain(m)
}

// result prints a figure for programs to find.
func result(name string, value float64, unit string) {
	fmt.Printf("RESULT %s %.4g %s\n", name, value, unit)
}

// TestLink prints the figures of one link.
func TestLink(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("a measurement of a minute: set BENCH=1")
	}
	far := 100 * time.Millisecond // one way
	for _, m := range []struct {
		name    string
		measure func(t *testing.T)
	}{
		{"Objects", func(t *testing.T) { objects(t, "objects_1000_rtt200", hubtest.Weather{Delay: far}, manifest) }},
		{"ObjectsLoss", func(t *testing.T) {
			objects(t, "objects_1000_rtt200_loss1", hubtest.Weather{Delay: far, Loss: 0.01}, manifest)
		}},
		{"ObjectsRandom", func(t *testing.T) { objects(t, "objects_1000_rtt200_random", hubtest.Weather{Delay: far}, randomBody) }},
		{"ObjectsLossRandom", func(t *testing.T) {
			objects(t, "objects_1000_rtt200_loss1_random", hubtest.Weather{Delay: far, Loss: 0.01}, randomBody)
		}},
		{"Calls", func(t *testing.T) { calls(t, "roundtrip_p50", listenWS(t)) }},
		{"CallsQUIC", func(t *testing.T) { calls(t, "roundtrip_quic_p50", listenQUIC(t)) }},
		{"Stream", func(t *testing.T) { stream(t, "stream_ws", listenWS(t)) }},
		{"StreamQUIC", func(t *testing.T) { stream(t, "stream_quic", listenQUIC(t)) }},
	} {
		t.Run(m.name, m.measure)
	}
}

// randomBody is 2 KiB that do not compress.
func randomBody(int) string {
	random := make([]byte, 2048)
	_, _ = rand.Read(random) // never fails
	return string(random)
}

// objects measures the delivery of 1,000 objects over QUIC.
func objects(t *testing.T, name string, w hubtest.Weather, body func(seed int) string) {
	const objects, rounds = 1000, 3
	bodies := make([]string, objects)
	for i := range bodies {
		bodies[i] = body(i)
	}
	var took []time.Duration
	for round := range uint64(rounds) {
		t.Run(strconv.FormatUint(round, 10), func(t *testing.T) {
			s := listenQUIC(t)
			p := hubtest.NewPacketProxy(t, s.addr, round+1)
			p.SetWeather(w)
			s.addr = p.Addr()
			l := connect(t, s)
			begun := time.Now()
			for i := range objects {
				l.dir.Down(node).Put(hub.Key{Resource: "configmaps", Name: strconv.Itoa(i)}, 1, bodies[i])
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if err := l.sink.Wait(ctx, func() bool { return l.sink.Len() == objects }); err != nil {
				t.Fatalf("%d objects arrived: %v", l.sink.Len(), err)
			}
			took = append(took, time.Since(begun))
		})
	}
	if len(took) == rounds {
		slices.Sort(took)
		result(name, took[rounds/2].Seconds(), "s")
	}
}

// calls measures round trips from the cloud to the edge and back.
func calls(t *testing.T, name string, s site) {
	const warm, rounds = 200, 5000
	l := connect(t, s)
	m := hub.Message{Key: hub.Key{Resource: "echo"}, Body: make([]byte, 100)}
	took := make([]time.Duration, 0, rounds)
	for i := range warm + rounds {
		begun := time.Now()
		if _, err := l.server.Call(t.Context(), node, m); err != nil {
			t.Fatal(err)
		}
		if i >= warm {
			took = append(took, time.Since(begun))
		}
	}
	slices.Sort(took)
	result(name, took[rounds/2].Seconds()*1e3, "ms")
}

// stream measures one stream from the cloud to the edge.
func stream(t *testing.T, name string, s site) {
	const span = 3 * time.Second
	l := connect(t, s)
	out, err := l.server.OpenStream(t.Context(), node, hub.Message{Key: hub.Key{Resource: "sink"}})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf := make([]byte, 64<<10)
	begun := time.Now()
	for time.Since(begun) < span {
		if _, err := out.Write(buf); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(out) // how much the handler has read
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(begun)
	bytes, err := strconv.ParseInt(string(answer), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	result(name, float64(bytes)/took.Seconds()/1e6, "MB/s")
}
