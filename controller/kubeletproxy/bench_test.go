package kubeletproxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/hubbench/processtest"
)

// How much TestStreams measures.
const (
	firstBytes = 300
	carried    = 256 << 20
	carries    = 7 // the median counts
	followers  = 1000
	objects    = 400
)

// TestStreams measures what the way through the cloud costs, against the same
// kubelet API served directly over TLS in the same run. The cloud's side and
// the node are processes of their own, with the garbage collection of cloudcore
// and edgecore; this one is the clients. The container runtime's end of
// sessions is a server in the node's process.
//
// PROFILE=name writes profiles of both processes to files that begin so.
func TestStreams(t *testing.T) {
	switch processtest.Role() {
	case "cloud":
		processtest.Serve(&benchCloud{t: t})
		return
	case "edge":
		processtest.Serve(&benchEdge{t: t})
		return
	}
	if os.Getenv("BENCH") == "" {
		t.Skip("measures; run it with make bench-streams")
	}
	b := startBench(t)
	for name, path := range map[string]string{
		"logs_first_byte_added": "/containerLogs/default/web/app?tailLines=1",
		"exec_first_byte_added": "/exec/default/web/app?command=hello&input=1&output=1",
	} {
		added := median(t, b.client, b.cloudURL+path) - median(t, b.client, b.edgeURL+path)
		fmt.Printf("RESULT %s %.3f ms\n", name, float64(added.Microseconds())/1000)
	}
	b.profiled("cp", func() {
		var rates, ratios []float64
		for range carries {
			direct, cloud := carry(t, b.client, b.edgeURL), carry(t, b.client, b.cloudURL)
			rates = append(rates, 2*carried/cloud.Seconds()/1e6)
			ratios = append(ratios, direct.Seconds()/cloud.Seconds())
		}
		slices.Sort(rates)
		slices.Sort(ratios)
		fmt.Printf("RESULT cp_rate %.0f MB/s\n", rates[carries/2])
		fmt.Printf("RESULT cp_rate_ratio %.2f\n", ratios[carries/2])
	})

	alone := b.deliver()
	edge, cloud := b.resident()
	stop := b.follow()
	var delay time.Duration
	b.profiled("followers", func() { delay = b.deliver() - alone })
	edgeNow, cloudNow := b.edge.Resident(), b.cloud.Resident() // with garbage, as an operator sees it
	fmt.Printf("RESULT followers_1000_rss %.1f MiB\n", float64(edgeNow-edge)/(1<<20))
	fmt.Printf("RESULT followers_1000_cloud_rss %.1f MiB\n", float64(cloudNow-cloud)/(1<<20))
	fmt.Printf("RESULT state_delay_p99 %.2f ms\n", float64(delay.Microseconds())/1000)
	stop()
}

// bench is the three processes, seen from the clients.
type bench struct {
	t                 *testing.T
	cloud, edge       *processtest.Process
	cloudURL, edgeURL string // where the node's kubelet API is served
	client            *http.Transport
	n                 int // objects delivered
}

func startBench(t *testing.T) *bench {
	t.Helper()
	args := []string{"-test.run=^TestStreams$", "-test.timeout=0"}
	b := &bench{
		t:     t,
		cloud: processtest.Start(t, processtest.Config{Role: "cloud", Args: args, Env: []string{"GOGC=25"}}),
		edge:  processtest.Start(t, processtest.Config{Role: "edge", Args: args, Env: []string{"GOGC=50"}}),
	}
	var c BenchCloud
	b.cloud.Call("Start", struct{}{}, &c)
	b.edge.Call("Start", c, &b.edgeURL)
	b.cloud.Call("Port", struct{}{}, &b.cloudURL)
	b.client = &http.Transport{MaxIdleConnsPerHost: 10, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{c.Client.certificate(t)}}}
	t.Cleanup(b.client.CloseIdleConnections)
	b.deliver() // once the node is connected
	return b
}

// deliver sends objects one after the other and gives the 99th percentile of
// the time until the node has one.
func (b *bench) deliver() time.Duration {
	b.t.Helper()
	var all []time.Duration
	for range objects {
		b.n++
		var took time.Duration
		b.cloud.Call("Put", b.n, &struct{}{})
		b.edge.Call("Wait", b.n, &took)
		all = append(all, took)
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

// resident is the memory of both processes after a garbage collection.
func (b *bench) resident() (edge, cloud int64) {
	for _, p := range []*processtest.Process{b.edge, b.cloud, b.edge, b.cloud} {
		p.Call("Collect", struct{}{}, &struct{}{}) // twice: pools keep things for one round
	}
	return b.edge.Resident(), b.cloud.Resident()
}

// profiled writes profiles of f if PROFILE asks for them.
func (b *bench) profiled(what string, f func()) {
	name := os.Getenv("PROFILE")
	if name == "" {
		f()
		return
	}
	for _, p := range []*processtest.Process{b.edge, b.cloud} {
		p.Call("Watch", name+"."+what+"."+p.Role, &struct{}{})
		defer p.Call("Profile", name+"."+what+"."+p.Role, &struct{}{})
	}
	f()
}

// follow makes many clients follow the log, waits until all have got a first line, and
// lets the log grow until stop.
func (b *bench) follow() (stop func()) {
	b.t.Helper()
	var bodies []io.ReadCloser
	for range followers {
		body := request(b.t, b.client, b.cloudURL+"/containerLogs/default/web/app?follow=true&tailLines=1")
		if _, err := bufio.NewReaderSize(body, 16).ReadString('\n'); err != nil {
			b.t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	var wg sync.WaitGroup
	for _, body := range bodies {
		wg.Go(func() { _, _ = io.Copy(io.Discard, body) }) // ends with the body
	}
	b.edge.Call("Talk", true, &struct{}{})
	return func() {
		b.edge.Call("Talk", false, &struct{}{})
		for _, body := range bodies {
			body.Close()
		}
		wg.Wait()
	}
}

// median is the time to the first byte of an answer.
func median(t *testing.T, tr *http.Transport, url string) time.Duration {
	t.Helper()
	var all []time.Duration
	for range firstBytes {
		began := time.Now()
		body := request(t, tr, url)
		if _, err := io.ReadFull(body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		all = append(all, time.Since(began))
		body.Close()
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// request asks for a URL, with an upgrade where that is an exec.
func request(t *testing.T, tr *http.Transport, url string) io.ReadCloser {
	t.Helper()
	method := http.MethodGet
	if strings.Contains(url, "/exec/") {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "bytes") // which nobody on the way looks into
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 400 {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s %s", url, resp.Status, text)
	}
	return resp.Body
}

// carry sends bytes into a session and takes as many out of another.
func carry(t *testing.T, tr *http.Transport, base string) time.Duration {
	t.Helper()
	began := time.Now()
	in := request(t, tr, base+"/exec/default/web/app?command=take&input=1&output=1").(io.ReadWriteCloser)
	buf := make([]byte, 64<<10)
	for range carried / len(buf) {
		if _, err := in.Write(buf); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(in); string(text) != strconv.Itoa(carried) || err != nil {
		t.Fatalf("%q %v", text, err)
	}
	in.Close()
	out := request(t, tr, base+"/exec/default/web/app?command=give&input=1&output=1")
	if got, err := io.Copy(io.Discard, out); got != carried || err != nil {
		t.Fatalf("%d %v", got, err)
	}
	out.Close()
	return time.Since(began)
}
