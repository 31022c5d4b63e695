package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestKeadm: each command of keadm, and each flag, is answered with what to type.
func TestKeadm(t *testing.T) {
	for argv0, want := range map[string]bool{"keadm": true, "/usr/local/bin/keadm": true, "edgectl": false, "/opt/keadm/edgectl": false} {
		if isKeadm(argv0) != want {
			t.Error(argv0)
		}
	}
	for args, want := range map[string][]string{
		"":                           {"edgectl --help", "Nothing was done"},
		"moon":                       {"edgectl --help"},
		"init --advertise-address=1": {"  edgectl init\n", "--advertise-address: cloudcore --advertise"},
		"gettoken":                   {"edgectl token create --node NAME", "there is no token for all"},
		"join --cloudcore-ipport=192.0.2.1:10000 --token=qwerty --kubeedge-version=1.23 --cgroupdriver=systemd": {
			"edgectl join -e CLOUD:10000", "--cloudcore-ipport: -e HOST:PORT", "--token: --token-file FILE", "--kubeedge-version: leave it out", "--cgroupdriver: (the runtime is asked",
		},
		"join -e a:1 --strange":   {"-e: -e HOST:PORT", `"--strange": see edgectl join --help`},
		"reset edge --force":      {"  edgectl reset\n", "--force: --yes"},
		"debug check all":         {"  edgectl check\n"},
		"debug collect -o /tmp":   {"edgectl debug bundle", "-o: --output"},
		"ctl unhold-upgrade node": {"  edgectl unhold node\n"},
		"batch -c hosts.yaml":     {"edgectl join --many", "-c: --many FILE"},
		"config images list":      {"  edgectl images list\n"},
	} {
		var out bytes.Buffer
		if code := answerKeadm(strings.Fields(args), &out); code != exitKeadm {
			t.Errorf("%s: exit %d", args, code)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: no %q in %s", args, w, &out)
			}
		}
		if strings.Contains(out.String(), "qwerty") {
			t.Error("the token is printed")
		}
	}
	for _, l := range keadmLines() {
		if findKeadm(strings.Fields(l.command)) != l || l.here == "" {
			t.Errorf("%+v is not found", l)
		}
	}
}
