package codec

import (
	"fmt"
	"sync"
	"testing"
)

// TestConcurrent has several goroutines with one decoder and other names in each.
func TestConcurrent(t *testing.T) {
	var j JSON
	var c CBOR
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				name := fmt.Sprint("field", g, i%50)
				v, err := j.Decode([]byte(`{"` + name + `":[1,"x\n",{"a":2}]}`))
				if m, ok := v.(map[string]any); err != nil || !ok || m[name] == nil || m[name].([]any)[1] != "x\n" {
					t.Errorf("%v, %v", v, err)
					return
				}
				b, err := AppendCBOR(nil, v)
				if err != nil {
					t.Error(err)
					return
				}
				if w, err := c.Decode(b); err != nil || w.(map[string]any)[name] == nil {
					t.Errorf("%v, %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
