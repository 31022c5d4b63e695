package keyed_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline/internal/keyed"
)

// TestModel compares a Table, and what its changes have made of a store, with a map.
func TestModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		const most = 5
		table := keyed.New[int](most)
		model := make(map[string]int) // the value is the time of writing, so the least is the oldest
		store := make(map[string]int)
		save := func() {
			table.Changes(func(key string, v int, exists bool) {
				if exists {
					store[key] = v
				} else {
					delete(store, key)
				}
			})
		}
		for now := range 300 {
			key := fmt.Sprint(r.IntN(10))
			switch r.IntN(6) {
			case 0:
				old := now - r.IntN(20)
				table.Expire(func(v int) bool { return v < old })
				maps.DeleteFunc(model, func(_ string, v int) bool { return v < old })
			case 1:
				save()
				if !maps.Equal(store, model) {
					t.Fatalf("seed %d: the store has %v, want %v", seed, store, model)
				}
			case 2: // a restart
				save()
				table = keyed.New[int](most)
				for key, v := range store {
					table.Restore(key, v)
				}
				table.Sort(cmp.Compare)
			default:
				if _, ok := model[key]; !ok && len(model) == most {
					oldest := ""
					for k, v := range model {
						if oldest == "" || v < model[oldest] {
							oldest = k
						}
					}
					delete(model, oldest)
				}
				table.Put(key, now)
				model[key] = now
			}
			have, ok := table.Get(key)
			if want, there := model[key]; ok != there || have != want {
				t.Fatalf("seed %d: %s is %d %v, want %d %v", seed, key, have, ok, want, there)
			}
			if table.Len() != len(model) {
				t.Fatalf("seed %d: %d keys, want %d", seed, table.Len(), len(model))
			}
		}
	}
}
