package twin_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// forgetful is a store that keeps nothing: what is measured is the engine.
type forgetful struct{ meta.Store }

func (forgetful) Apply(context.Context, ...meta.Op) (uint64, error) { return 1, nil }

// heap is the memory of all live objects.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemory holds 1,000 devices of 10 properties to a budget of 8 MiB.
func TestMemory(t *testing.T) {
	if underRace {
		t.Skip("the race detector takes memory of its own")
	}
	engine := run(t, forgetful{memstore.New()})
	before := heap()
	var reports []twin.Values
	for i := range 1000 {
		put := twin.Put{}
		v := values(fmt.Sprint("plant/device-", i))
		for p := range 10 {
			name := fmt.Sprint("property-", p)
			put.Properties = append(put.Properties, twin.Declaration{Name: name, Type: "int", Rule: twin.Rule{Minimum: "0", Maximum: "100000"}})
			v.Values[name] = fmt.Sprint(i * p)
		}
		must(t, engine.Put(t.Context(), v.Device, put))
		reports = append(reports, v)
	}
	must(t, engine.Report(t.Context(), reports...))
	must(t, engine.Report(t.Context(), values("plant/device-0", "property-0", "1"))) // the queue's memory is free again
	mib := float64(heap()-before) / (1 << 20)
	t.Logf("RESULT twin_1000_rss %.1f MiB", mib)
	if mib > 8 {
		t.Errorf("1,000 devices take %.1f MiB, the budget is 8", mib)
	}
	runtime.KeepAlive(engine)
}

// TestMeasured prints what updates cost: make bench-twin.
func TestMeasured(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("set BENCH=1 to measure")
	}
	r := testing.Benchmark(BenchmarkInprocess)
	t.Logf("RESULT twin_inproc %.0f updates/s", r.Extra["updates/s"])
	t.Logf("RESULT twin_inproc_cpu %.1f us", r.Extra["cpu-us/op"])
	measureRest(t)
}

// measureRest has 100 devices report an unchanged value again and again. The engine writes
// their timestamps every 5 minutes, and when it ends: what it then writes is extrapolated to a
// day.
func measureRest(t *testing.T) {
	store, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir()})
	must(t, err)
	defer store.Close()
	var reports []twin.Values
	for i := range 100 {
		reports = append(reports, values(fmt.Sprint("plant/d", i), "temperature", "21.5"))
	}
	round := func() {
		engine, stop := runUntil(t, store)
		for _, v := range reports {
			must(t, engine.Put(t.Context(), v.Device, twin.Put{}))
			must(t, engine.SetState(t.Context(), v.Device, "online"))
		}
		for range 300 { // once a second
			must(t, engine.Report(t.Context(), reports...))
		}
		stop()
	}
	round()
	written := diskWrites(t)
	const rounds = 20
	for range rounds {
		round()
	}
	perWrite := float64(diskWrites(t)-written) / rounds
	mib := perWrite * 24 * 3600 / 300 / (1 << 20)
	t.Logf("RESULT twin_rest_mib_day %.1f MiB", mib)
	if mib > 100 {
		t.Errorf("%.1f MiB are written a day, the budget is 100", mib)
	}
}

// diskWrites is how many bytes this process has written to disks, those of mapped files too.
func diskWrites(t *testing.T) (bytes int64) {
	t.Helper()
	f, err := os.Open("/proc/self/io")
	if err != nil {
		t.Skipf("the kernel does not count: %v", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "write_bytes: "); ok {
			if _, err := fmt.Sscan(text, &bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	return bytes
}
