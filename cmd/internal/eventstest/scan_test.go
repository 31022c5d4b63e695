package eventstest

import "testing"

func TestScan(t *testing.T) {
	all, err := Scan("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		t.Logf("%+v", e)
	}
}
