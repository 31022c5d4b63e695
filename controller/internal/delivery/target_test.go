package delivery

import "testing"

func TestRefuseLocal(t *testing.T) {
	for address, local := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "169.254.169.254:80": true, "[fe80::1]:80": true, "0.0.0.0:80": true, "[::ffff:127.0.0.1]:80": true,
		"10.0.0.1:80": false, "[2001:db8::1]:443": false, "8.8.8.8:443": false,
	} {
		if err := (TargetsConfig{}).refuseLocal(address); (err != nil) != local {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for _, good := range []string{"http://a", "https://a:1/b?c=d"} {
		if _, err := ParseTarget(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a", "/a", "ftp://a", "http://", "http://u:p@a", "file:///etc", "http://a b"} {
		if u, err := ParseTarget(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, u)
		}
	}
}
