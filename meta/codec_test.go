package meta_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
)

func TestObjectRoundTrip(t *testing.T) {
	at := time.Date(2026, 11, 24, 1, 2, 3, 4_000_000, time.UTC)
	for _, o := range []meta.Object{
		{Key: meta.Key{Resource: "pods", Namespace: "a", Name: "b"}, Version: "123", Body: []byte(`{"a":1}`), Stored: at},
		{Key: meta.Key{Resource: "pods/status", Namespace: "a", Name: "b"}, Body: []byte("x"), Deleted: true},
		{Key: meta.Key{Resource: "nodes", Name: "n"}, Stored: time.UnixMilli(-5).UTC()},
		{Key: meta.Key{Resource: "x", Namespace: "ä", Name: "."}},
	} {
		got, err := meta.DecodeObject(meta.Up, meta.Record{Key: meta.Up + o.Key.Path(), Value: meta.EncodeObject(o)})
		if err != nil || got.Key != o.Key || got.Version != o.Version || !bytes.Equal(got.Body, o.Body) ||
			got.Deleted != o.Deleted || !got.Stored.Equal(o.Stored) {
			t.Errorf("%+v came back as %+v, %v", o, got, err)
		}
	}
}

func TestDecodeObjectRefuses(t *testing.T) {
	good := string(meta.EncodeObject(meta.Object{Version: "12", Body: []byte("body"), Stored: time.UnixMilli(99)}))
	for name, r := range map[string]meta.Record{
		"other area":      {Key: "down/pods/a/b", Value: []byte(good)},
		"no path":         {Key: "up/pods", Value: []byte(good)},
		"empty":           {Key: "up/pods/a/b"},
		"no flags":        {Key: "up/pods/a/b", Value: []byte{1}},
		"newer form":      {Key: "up/pods/a/b", Value: []byte("\x02" + good[1:])},
		"unknown flag":    {Key: "up/pods/a/b", Value: []byte("\x01\x80" + good[2:])},
		"time cut off":    {Key: "up/pods/a/b", Value: []byte(good[:2])},
		"version cut off": {Key: "up/pods/a/b", Value: []byte(good[:5])},
		"long version":    {Key: "up/pods/a/b", Value: []byte("\x01\x00\xff\xff\x01" + strings.Repeat("v", 70000))},
	} {
		if o, err := meta.DecodeObject(meta.Up, r); err == nil {
			t.Errorf("%s: decoded as %+v", name, o)
		}
	}
}

func TestKeyValid(t *testing.T) {
	for key, want := range map[meta.Key]bool{
		{Resource: "pods", Namespace: "a", Name: "b"}:        true,
		{Resource: "pods/status", Namespace: "a", Name: "b"}: true,
		{Resource: "nodes", Name: "n.example.org"}:           true,
		{}:                               false,
		{Resource: "pods"}:               false,
		{Name: "b"}:                      false,
		{Resource: "pods/", Name: "b"}:   false,
		{Resource: "/status", Name: "b"}: false,
		{Resource: "a/b/c", Name: "b"}:   false,
		{Resource: "a:b", Name: "b"}:     false,
		{Resource: "a", Name: "b/c"}:     false,
		{Resource: "a", Namespace: "x/y", Name: "b"}: false,
		{Resource: "a", Name: "b\x00"}:               false,
	} {
		if key.Valid() != want {
			t.Errorf("%q: Valid is %t", key, !want)
		}
		if got, ok := meta.ParsePath(key.Path()); want && (!ok || got != key) {
			t.Errorf("%q: path %q came back as %q", key, key.Path(), got)
		}
	}
}

func TestCheckOpsNamesTheLimit(t *testing.T) {
	err := meta.CheckOps([]meta.Op{{Key: "a", Value: make([]byte, meta.MaxValue+1)}})
	if !errors.Is(err, meta.ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprint(meta.MaxValue)) {
		t.Errorf("CheckOps: %v", err)
	}
	if err := meta.CheckOps([]meta.Op{{Key: "a", Delete: true, Value: make([]byte, meta.MaxBatch)}}); err != nil {
		t.Errorf("the value of a removal counts: %v", err)
	}
}

func FuzzDecodeObject(f *testing.F) {
	f.Add("up/pods/a/b", meta.EncodeObject(meta.Object{Version: "12", Body: []byte("{}"), Stored: time.UnixMilli(99)}))
	f.Add("up/pods:status/a/b", meta.EncodeObject(meta.Object{Deleted: true}))
	f.Add("up//", []byte{1, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add("up/x/y/z", []byte{1, 0, 0x80})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		o, err := meta.DecodeObject(meta.Up, meta.Record{Key: key, Value: value})
		if err != nil {
			return
		}
		again, err := meta.DecodeObject(meta.Up, meta.Record{Key: key, Value: meta.EncodeObject(o)})
		if err != nil || again.Version != o.Version || !bytes.Equal(again.Body, o.Body) || again.Deleted != o.Deleted ||
			!again.Stored.Equal(o.Stored) {
			t.Errorf("%+v came back as %+v, %v", o, again, err)
		}
	})
}
