package static

import "testing"

// FuzzDecodeList: no answer of a web server makes the reader panic.
func FuzzDecodeList(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n"))
	f.Add([]byte("apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: b}\n  spec: {containers: [{name: c, image: i}]}\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if len(text) <= maxManifest {
			_, _ = decodeList(text, "edge")
		}
	})
}
