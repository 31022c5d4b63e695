package hubbench_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/hubbench/processtest"
	"github.com/edgekit/edgekit/hub/join"
)

// authority makes a CA: its certificate and its key, as PEM.
func authority(t testing.TB) (cert, key []byte) {
	t.Helper()
	ca, err := join.NewCA("bench", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if key, err = ca.KeyPEM(); err != nil {
		t.Fatal(err)
	}
	return ca.CertificatePEM(), key
}

// loopback is the i-th address of this machine to itself.
func loopback(i int) string { return "127.0.0." + strconv.Itoa(1+i) }

// watch begins profiles of the CPU of all processes, if profiles are asked for.
func (f *fleet) watch() {
	f.t.Helper()
	f.each(func(p *processtest.Process, name string) { p.Call("Watch", name+".back", &struct{}{}) })
}

// profile writes the profiles of all processes, if they are asked for.
func (f *fleet) profile(when string) {
	f.t.Helper()
	f.each(func(p *processtest.Process, name string) { p.Call("Profile", name+"."+when, &struct{}{}) })
}

// each calls do with every process and with the beginning of its profiles'
// names, if profiles are asked for.
func (f *fleet) each(do func(p *processtest.Process, name string)) {
	f.t.Helper()
	if f.plan.profile == "" {
		return
	}
	for i, p := range append([]*processtest.Process{f.cloud}, f.crews...) {
		do(p, f.plan.profile+"."+p.Role+strconv.Itoa(i))
	}
}

// setting is an environment variable with a default.
func setting(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

func number(t *testing.T, name string, def int) int {
	t.Helper()
	n, err := strconv.Atoi(setting(name, strconv.Itoa(def)))
	if err != nil || n < 0 {
		t.Fatalf("%s=%q is no number", name, os.Getenv(name))
	}
	return n
}
