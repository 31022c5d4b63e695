package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/bundle"
)

func text(s string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

// TestWrite: sources are bounded each and together, and one that fails is an entry of the manifest.
func TestWrite(t *testing.T) {
	long := strings.Repeat("a line of a log\n", 1<<16)
	sources := []bundle.Source{
		{Name: "a/short.txt", Open: text("short")},
		{Name: "head.txt", Max: 100, Open: text(long)},
		{Name: "tail.txt", Max: 100, Tail: true, Open: text(long + "the end")},
		{Name: "gone.txt", Open: func(context.Context) (io.ReadCloser, error) { return nil, errors.New("password=S3CR3T is not there") }},
		{Name: "half.txt", Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("half"), brokenReader{})), nil
		}},
	}
	for range 40 {
		sources = append(sources, bundle.Source{Name: "big.txt", Max: 1 << 20, Open: text(long + long)})
	}
	var out bytes.Buffer
	m, err := bundle.Write(t.Context(), &out, bundle.Manifest{Node: "../../edge-1", Time: time.Unix(1e9, 0)}, sources)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, e := range m.Entries {
		total += e.Bytes
	}
	if total > bundle.MaxTotal || !m.Entries[1].Truncated || m.Entries[1].Bytes != 100 || !m.Entries[2].Truncated || m.Entries[0].Truncated ||
		m.Entries[3].Error == "" || strings.Contains(m.Entries[3].Error, "S3CR3T") || m.Entries[4].Error == "" || m.Entries[4].Bytes != 4 {
		t.Errorf("%d bytes: %+v", total, m.Entries[:6])
	}
	zip, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	in := tar.NewReader(zip)
	for i, want := range []string{"edgekit-edge-1/manifest.json", "edgekit-edge-1/a/short.txt", "edgekit-edge-1/head.txt", "edgekit-edge-1/tail.txt", "edgekit-edge-1/half.txt"} {
		h, err := in.Next()
		if err != nil || h.Name != want {
			t.Fatalf("entry %d: %+v, %v, want %s", i, h, err, want)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if want == "edgekit-edge-1/tail.txt" && (!strings.HasSuffix(string(content), "the end") || !strings.HasPrefix(string(content), "a line")) {
			t.Errorf("the tail is %q", content)
		}
		var back bundle.Manifest
		if i == 0 && (json.Unmarshal(content, &back) != nil || len(back.Entries) != len(sources)) {
			t.Errorf("the manifest is %.300s", content)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bundle.Write(ctx, io.Discard, bundle.Manifest{}, sources); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of ctx: %v", err)
	}
	if _, err := bundle.Write(t.Context(), brokenWriter{}, bundle.Manifest{Node: "n"}, sources); err == nil {
		t.Error("a full disk is no error")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestScrub(t *testing.T) {
	for in, want := range map[string]string{
		"password=x y":                        "password=(removed) y",
		`"token": "a \" b", "n": 1`:           `"token": (removed), "n": 1`,
		`msg="{\"secret\":\"x\"}"`:            `msg="{\"secret\":(removed)`,
		"tcp://u:p@h:1 refused":               "tcp://(removed)@h:1 refused",
		"unix:///run/x@1.sock":                "unix:///run/x@1.sock",
		"Authorization: Basic dTpwYXNz":       "Authorization: (removed) (removed)",
		"bearer abcdefgh":                     "bearer (removed)",
		"edgekit.abc.def.sha256 is used":      "(removed) is used",
		"node edge-1 is ready, 3 tokens used": "node edge-1 is ready, 3 tokens used",
		"-----BEGIN PRIVATE KEY-----\nabc":    "(removed)",
		"S3\n-----END PRIVATE KEY-----\nabc":  "(removed)\nabc", // of a log whose beginning was cut off
		"sha256:0011223344556677889900112233": "sha256:0011223344556677889900112233",
	} {
		got := string(bundle.Scrub([]byte(in)))
		if got != want && !(strings.HasPrefix(in, "Authorization") && !strings.Contains(got, "dTpw")) {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestBadDocuments: what is no document gives an error that does not quote it.
func TestBadDocuments(t *testing.T) {
	for name, reduce := range map[string]func([]byte) ([]byte, error){"pods": bundle.Pods, "node": bundle.Node, "settings": bundle.Settings, "CNI": bundle.CNI} {
		for _, bad := range []string{"", "S3CR3T", `{"items": S3CR3T`, `[`} {
			if out, err := reduce([]byte(bad)); err == nil || strings.Contains(err.Error()+string(out), "S3CR3T") {
				t.Errorf("%s of %q: %s, %v", name, bad, out, err)
			}
		}
	}
}

// TestScrubJSON: the document stays one, and a key over several lines of a list is taken out.
func TestScrubJSON(t *testing.T) {
	out, err := bundle.ScrubJSON([]byte(`{"a":"{\"secret\":\"S3CR3T\"}","b":[1,"token=S3CR3T"],"c":["x","-----BEGIN PRIVATE KEY-----","S3CR3T","-----END PRIVATE KEY-----","y"],"d":[]}`))
	if err != nil || !json.Valid(out) || strings.Contains(string(out), "S3CR3T") || !strings.Contains(string(out), `"y"`) {
		t.Errorf("%s, %v", out, err)
	}
}

func FuzzReduce(f *testing.F) {
	f.Add([]byte(`{"plugins":[{"type":"x","ipam":{"ranges":[[{"subnet":"10.0.0.0/8"}]]}}]}`))
	f.Add([]byte(`{"items":[{"spec":{"containers":[{"env":[{"name":"a","value":"b"}]}]}}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, reduce := range []func([]byte) ([]byte, error){bundle.Pods, bundle.Node, bundle.Settings, bundle.CNI, bundle.ScrubJSON} {
			if out, err := reduce(in); err == nil && !json.Valid(out) {
				t.Errorf("%q becomes %q", in, out)
			}
		}
		bundle.Scrub(in)
	})
}

func Example() {
	var out bytes.Buffer
	m, err := bundle.Write(context.Background(), &out, bundle.Manifest{Node: "edge-1"}, []bundle.Source{
		{Name: "log.txt", From: "the log", Scrub: true, Open: text("password=x\n")},
	})
	fmt.Println(m.Entries[0].Name, m.Entries[0].Bytes, err)
	// Output: log.txt 19 <nil>
}
