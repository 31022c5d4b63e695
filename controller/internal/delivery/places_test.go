package delivery_test

import (
	"testing"

	"github.com/edgekit/edgekit/controller/internal/delivery"
)

// TestPlacesClose: no request begins once the entry waits for those under way.
func TestPlacesClose(t *testing.T) {
	p := delivery.NewPlaces(2, 2)
	if !p.Take("n") {
		t.Fatal("no place")
	}
	p.Free("n")
	p.Close()
	if p.Take("n") {
		t.Error("a place is given after Close")
	}
}
