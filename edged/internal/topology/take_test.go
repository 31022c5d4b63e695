package topology

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"k8s.io/utils/cpuset"
)

// TestAsKubelet compares choices of CPUs with those that the functions of a kubelet
// 1.37.2 made for the same machines, free CPUs and requests. They were run once with
// random input; testdata/kubelet-cpus.txt has what they gave.
func TestAsKubelet(t *testing.T) {
	text, err := os.ReadFile("testdata/kubelet-cpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	machines := make(map[string]*Machine)
	for name := range boxes {
		machines[name] = machine(t, name)
	}
	count := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 5 || f[0] == "#" {
			continue
		}
		m := machines[f[0]]
		free, err := cpuset.Parse(f[2])
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(f[3])
		if err != nil {
			t.Fatal(err)
		}
		var got cpuset.CPUSet
		switch f[1] {
		case "packed":
			got, err = takePacked(m, free, n, false)
		case "caches":
			got, err = takePacked(m, free, n, true)
		case "numa":
			got, err = takeDistributed(m, free, n, 1)
		case "numacores":
			got, err = takeDistributed(m, free, n, m.threads())
		default:
			t.Fatalf("%q", line)
		}
		if count++; err != nil || got.String() != f[4] {
			t.Errorf("%s, got %s, %v", strings.TrimSpace(line), got, err)
		}
	}
	if count < 600 {
		t.Errorf("%d cases", count)
	}
}

func TestTakeTooMany(t *testing.T) {
	m := machine(t, "smt")
	if _, err := takePacked(m, cpuset.New(0, 1), 3, false); err == nil || err.Error() != "not enough cpus available to satisfy request: requested=3, available=2" {
		t.Error(err)
	}
	if _, err := takeDistributed(m, cpuset.New(0), 2, 1); err == nil {
		t.Error("distributed")
	}
	if got, err := takeDistributed(m, m.All(), 3, 2); err != nil || got.String() != "0-1,4" {
		t.Errorf("what is no unit is packed: %s, %v", got, err)
	}
}
