package sealed_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/edgekit/edgekit/meta/sealed"
)

func Example() {
	key := bytes.Repeat([]byte{1}, sealed.KeyBytes) // of a file, for example
	var file bytes.Buffer
	w, err := sealed.NewWriter(&file, key)
	if err != nil {
		panic(err)
	}
	if _, err := io.WriteString(w, "a secret"); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	r, err := sealed.NewReader(&file, key)
	if err != nil {
		panic(err)
	}
	text, err := io.ReadAll(r)
	fmt.Println(string(text), err)
	// Output: a secret <nil>
}
