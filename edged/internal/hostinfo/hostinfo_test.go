package hostinfo_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
)

func TestSpace(t *testing.T) {
	dir := t.TempDir()
	here, err := hostinfo.SpaceOf(dir)
	if err != nil {
		t.Skip(err) // a platform that no pods run on
	}
	if here.Total <= 0 || here.Free > here.Total {
		t.Errorf("%+v", here)
	}
	later := filepath.Join(dir, "not", "there")
	if _, err := hostinfo.SpaceOf(later); err == nil {
		t.Error("a folder that does not exist has space")
	}
	if s, err := hostinfo.NearestSpace(later); err != nil || s.Device != here.Device || s.Total != here.Total {
		t.Errorf("%+v, %v, want the one of %+v", s, err, here)
	}
}

func TestFields(t *testing.T) {
	file := filepath.Join(t.TempDir(), "meminfo")
	if _, err := hostinfo.Fields(file); err == nil {
		t.Error("a file that does not exist has fields")
	}
	text := "MemTotal:  12 kB\npgfault 7\nalone\nbelow -1\nword x\n\nlarge 99999999999999999999\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := hostinfo.Fields(file)
	if want := map[string]int64{"MemTotal:": 12, "pgfault": 7}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
