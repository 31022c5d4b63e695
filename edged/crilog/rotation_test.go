package crilog_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/crilog"
)

func TestRotatedAt(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if name := crilog.RotatedName("0.log", at.In(time.FixedZone("", 3600))); name != "0.log.20260102-030405" {
		t.Error(name)
	}
	for _, tt := range []struct {
		name, rest string
		ok         bool
	}{
		{"0.log.20260102-030405", "", true}, {"0.log.20260102-030405.gz", ".gz", true}, {"0.log.20260102-030405.tmp", ".tmp", true},
		{"0.log", "", false}, {"0.log.", "", false}, {"0.log.old", "", false}, {"0.log.20260102-039905", "", false}, {"10.log.20260102-030405", "", false},
	} {
		got, rest, ok := crilog.RotatedAt("0.log", tt.name)
		if ok != tt.ok || ok && (rest != tt.rest || !got.Equal(at)) {
			t.Errorf("%s: %v %q %t", tt.name, got, rest, ok)
		}
	}
}

func entry(text string) string { return "2026-01-02T03:04:05Z stdout F " + text + "\n" }

// TestFollowRotations follows a log over rotations: the runtime still writes to the old
// file after the new one exists; several rotations between two reads; a new file that
// stays empty.
func TestFollowRotations(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rotate := func() string {
		t.Helper()
		at = at.Add(time.Second)
		to := crilog.RotatedName(file, at)
		if err := os.Rename(file, to); err != nil {
			t.Fatal(err)
		}
		return to
	}
	first := ""
	write(t, file, entry("one"))
	s := &script{steps: []func(){
		func() { first = rotate(); write(t, file, "") },
		func() { write(t, first, entry("two")) }, // the runtime has not changed over yet
		func() { write(t, first, entry("three")); write(t, file, entry("four")) },
		func() {}, // it is in the first file's successor now
		func() {
			for i := range 3 {
				rotate()
				write(t, file, entry(fmt.Sprintf("rotation %d", i)))
			}
		},
		func() {}, func() {}, func() {}, func() {},
		func() { rotate() }, // and nothing takes its place: the container ends
	}}
	var out bytes.Buffer
	if err := crilog.Copy(t.Context(), file, crilog.Options{Follow: s}, &out); err != nil {
		t.Fatal(err)
	}
	if want := "one\ntwo\nthree\nfour\nrotation 0\nrotation 1\nrotation 2\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestSlowFollower: a reader is so many rotations late that its file was compressed
// meanwhile. It goes on with the oldest file that it can read.
func TestSlowFollower(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	write(t, file, entry("one"))
	s := &script{steps: []func(){
		func() {
			first := crilog.RotatedName(file, at)
			for i := range 3 {
				if err := os.Rename(file, crilog.RotatedName(file, at.Add(time.Duration(i)*time.Second))); err != nil {
					t.Error(err)
				}
				write(t, file, entry(fmt.Sprintf("rotation %d", i)))
			}
			if err := os.Rename(first, first+crilog.CompressedName); err != nil {
				t.Error(err)
			}
		},
		func() {}, func() {}, func() {},
	}}
	var out bytes.Buffer
	if err := crilog.Copy(t.Context(), file, crilog.Options{Follow: s}, &out); err != nil {
		t.Fatal(err)
	}
	if want := "one\nrotation 0\nrotation 1\nrotation 2\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestReadBetweenTheSteps reads a log during a rotation, while no file has its name.
func TestReadBetweenTheSteps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	write(t, crilog.RotatedName(file, at), entry("older"))
	write(t, crilog.RotatedName(file, at.Add(time.Second)), entry("newest"))
	var out bytes.Buffer
	if err := crilog.Copy(context.Background(), file, crilog.Options{}, &out); err != nil || out.String() != "newest\n" {
		t.Errorf("%q %v", out.String(), err)
	}
	if text, err := crilog.Tail(file, 10, 100); err != nil || text != "newest\n" {
		t.Errorf("%q %v", text, err)
	}
}
