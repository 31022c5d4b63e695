package wire

import (
	"fmt"
	"reflect"
	"testing"
)

func Example() {
	text, err := Request{Method: "DELETE", Path: "/api/v1/namespaces/a/pods/b", Body: []byte("{}")}.Encode()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", text)
	// Output:
	// {"method":"DELETE","path":"/api/v1/namespaces/a/pods/b"}
	// {}
}

func TestRoundTrip(t *testing.T) {
	req := Request{Method: "PUT", Path: "/api/v1/x", Query: "a=b", ContentType: "c", Accept: "d", Token: "e", Body: []byte("f\ng")}
	text, err := req.Encode()
	if got, decodeErr := DecodeRequest(text); err != nil || decodeErr != nil || !reflect.DeepEqual(got, req) {
		t.Errorf("%+v, %v, %v", got, err, decodeErr)
	}
	resp := Response{Code: 200, ContentType: "c", Warnings: []string{"w"}, Body: []byte("\n")}
	text, err = resp.Encode()
	if got, decodeErr := DecodeResponse(text); err != nil || decodeErr != nil || !reflect.DeepEqual(got, resp) {
		t.Errorf("%+v, %v, %v", got, err, decodeErr)
	}
	if _, err := (Request{Query: string(make([]byte, maxHead))}).Encode(); err == nil {
		t.Error("a head over the limit was taken")
	}
	for _, bad := range []string{"", "{}", "x\n", "{\"code\":7}\n"} {
		if got, err := DecodeResponse([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("{\"method\":\"GET\"}\nx"))
	f.Add([]byte("{\"code\":200}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := DecodeRequest(text); err == nil {
			if _, err := r.Encode(); err != nil && len(text) < maxHead/8 {
				t.Errorf("%+v: %v", r, err)
			}
		}
		_, _ = DecodeResponse(text)
	})
}
