package nodeapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta/apiserver"
)

// largeItem is a pod as a list has it, some 2 KiB.
func largeItem() []byte {
	return fmt.Appendf(nil, `{"metadata":{"name":"p","namespace":"n","annotations":{"a":%q}}}`, bytes.Repeat([]byte("x"), 2000))
}

// largeUpstream answers each request with a list of n objects, made as it is sent.
func largeUpstream(t testing.TB, n int, sent *atomic.Int64) *httptest.Server {
	one := largeItem()
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[`)
		for i := range n {
			if i > 0 {
				_, _ = w.Write([]byte{','})
			}
			if _, err := w.Write(one); err != nil {
				return
			}
			sent.Add(int64(len(one)))
		}
		_, _ = io.WriteString(w, `]}`)
	}))
	u.EnableHTTP2 = true
	u.StartTLS()
	t.Cleanup(u.Close)
	return u
}

// heap is what is reachable now, in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestLargeList: a pod lists 50,000 objects (100 MB) through the node. Neither the node nor cloudcore
// holds more of it than is in flight; and if the pod does not read, nothing grows.
func TestLargeList(t *testing.T) {
	var sent atomic.Int64
	u := largeUpstream(t, largeObjects, &sent)
	s := newInClusterAt(t, u)
	before, most := heap(), uint64(0)
	resp := s.open(t, "/api/v1/pods")
	size := int64(0)
	for {
		n, err := io.CopyN(io.Discard, resp.Body, 8<<20)
		size += n
		most = max(most, heap())
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
	}
	resp.Body.Close()
	read := int64(most) - int64(before)
	if size < largeObjects*2000 {
		t.Errorf("got %d bytes", size)
	}
	const clients = 8
	var stuck [clients]*http.Response
	before = heap()
	for i := range stuck {
		stuck[i] = s.open(t, "/api/v1/pods")
	}
	last, same := int64(-1), 0
	hubtest.Until(t, "all that is in flight is full", func() bool {
		now := sent.Load()
		if same++; now != last {
			last, same = now, 0
		}
		return same == 50
	})
	unread := int64(heap()) - int64(before)
	for _, r := range stuck {
		r.Body.Close()
	}
	hubtest.Until(t, "the streams end", func() bool { return s.api.Stats().Streams == 0 })
	fmt.Printf("RESULT nodeapi_list_bytes %d B\nRESULT nodeapi_list_heap %d KiB\nRESULT nodeapi_unread_list_heap %d KiB\n", size, read>>10, unread/clients>>10)
	if read > 8<<20 || unread > clients*2<<20 {
		t.Errorf("one list took %d bytes of memory, %d unread lists %d: they are held somewhere", read, clients, unread)
	}
}

func (s *inCluster) open(t testing.TB, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.web())
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", resp, err)
	}
	return resp
}

// TestIdleWatches measures what an idle watch through the node takes, in edgecore and cloudcore
// together: BENCH=1.
func TestIdleWatches(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("BENCH is not set")
	}
	const watches = 200
	var open atomic.Int64
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		open.Add(1)
		<-r.Context().Done()
	}))
	u.EnableHTTP2 = true
	u.StartTLS()
	defer u.Close()
	s := newInClusterAt(t, u)
	defer func() { hubtest.Until(t, "the streams end", func() bool { return s.api.Stats().Streams == 0 }) }()
	s.open(t, "/api/v1/pods?watch=1").Body.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for i := range watches {
		resp := s.open(t, "/api/v1/pods?watch=1&n="+strconv.Itoa(i))
		defer resp.Body.Close()
	}
	took := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse
	fmt.Printf("RESULT nodeapi_idle_watch %d KiB\nRESULT nodeapi_request %d us\n", held>>10/watches, took.Microseconds()/watches)
}

// BenchmarkList copies lists of 1,000 objects (2 MB) from the API server to a pod.
func BenchmarkList(b *testing.B) {
	u := largeUpstream(b, 1000, new(atomic.Int64))
	s := newInClusterAt(b, u)
	b.SetBytes(int64(1000 * len(largeItem())))
	b.ReportAllocs()
	for b.Loop() {
		resp := s.open(b, "/api/v1/pods")
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
}

// newInClusterAt is an inCluster with another API server.
func newInClusterAt(t testing.TB, u *httptest.Server) *inCluster {
	return newInCluster(t, func(c *apiserver.Config) { c.MaxWatches, c.MaxStreams = 1000, 2000 }, func(c *Config) {
		c.MaxStreamsPerNode = 2000
		c.REST.Host = u.URL
		c.REST.TLSClientConfig.Insecure = true
	})
}
