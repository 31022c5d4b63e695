package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// TestCoverage finds every script and test that testdata/README.md names.
func TestCoverage(t *testing.T) {
	table, err := os.ReadFile("testdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, line := range strings.Split(string(table), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || strings.TrimSpace(cells[2]) == "where" || strings.HasPrefix(cells[1], "-") {
			continue
		}
		found++
		where := strings.TrimSpace(cells[2])
		if where == "missing" {
			continue
		}
		if script, row, ok := strings.Cut(where, ": "); ok {
			text, err := os.ReadFile(filepath.Join("testdata", script))
			if err != nil || !strings.Contains(string(text), "\n# "+row+":") {
				t.Errorf("%s: there is no such script: %v", where, err)
			}
			continue
		}
		folder, name, _ := strings.Cut(where, " ")
		files, err := filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		exists := false
		for _, file := range files {
			text, err := os.ReadFile(file)
			exists = exists || (err == nil && strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)"))
		}
		if !exists {
			t.Errorf("%s: there is no such test", where)
		}
	}
	if found < 30 {
		t.Errorf("%d rows were read", found)
	}
}

// failingStore fails to write while it is told to.
type failingStore struct {
	meta.Store
	fails atomic.Bool
}

func (s *failingStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if s.fails.Load() {
		return 0, errors.New("no space left on device")
	}
	return s.Store.Apply(ctx, ops...)
}

// TestCodes has the codes that need a large device or a broken disk.
func TestCodes(t *testing.T) {
	store := &failingStore{Store: memstore.New()}
	n := startWith(t, store, time.Now)
	n.want(t, nodeTopic+"membership/detail/result")
	if err := n.engine.Put(t.Context(), "plant/boiler", twin.Put{}); err != nil {
		t.Fatal(err)
	}
	n.want(t, nodeTopic+"membership/updated")
	var many strings.Builder
	for i := range twin.MaxTwins + 1 {
		fmt.Fprintf(&many, `,"p%d":{"actual":{"value":"1"}}`, i)
	}
	n.say(t, boiler+"twin/update", `{"event_id":"large","twin":{`+many.String()[1:]+`}}`)
	n.want(t, boiler+"twin/update/result", `"event_id":"large"`, `"code":413`)
	store.fails.Store(true)
	n.say(t, boiler+"twin/update", `{"event_id":"full","twin":{"a":{"actual":{"value":"1"}}}}`)
	n.want(t, boiler+"twin/update/result", `"event_id":"full"`, `"code":500`, "no space left on device")
	n.say(t, boiler+"state/update", `{"event_id":"full-too","state":"online"}`)
	n.want(t, boiler+"state/update/result", `"event_id":"full-too"`, `"code":500`)
	store.fails.Store(false)
	n.say(t, boiler+"twin/get", `{"event_id":"none"}`)
	n.want(t, boiler+"twin/get/result", `"twin":{}`)
}
