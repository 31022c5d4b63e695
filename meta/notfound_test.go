package meta_test

import (
	"testing"

	"github.com/edgekit/edgekit/meta"
)

func TestSaysNotFound(t *testing.T) {
	for body, want := range map[string]bool{
		string(meta.NotFoundBody()): true,
		`{"kind":"Status","status":"Failure","reason":"NotFound","code":404}`: true,
		``: false, `{}`: false, `{"reason":"Gone"}`: false, `{"reason":3}`: false, `{"reason":"NotFound"`: false, `[]`: false,
	} {
		if got := meta.SaysNotFound([]byte(body)); got != want {
			t.Errorf("%q: %t, want %t", body, got, want)
		}
	}
}
