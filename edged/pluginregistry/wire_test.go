package pluginregistry

import (
	"errors"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// TestWire holds the messages to the generated ones.
func TestWire(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want *registration.RegistrationStatus
	}{
		{nil, &registration.RegistrationStatus{PluginRegistered: true}},
		{errors.New("why"), &registration.RegistrationStatus{Error: "why"}},
	} {
		got := &registration.RegistrationStatus{}
		if err := proto.Unmarshal(statusRequest(tt.err), got); err != nil || !proto.Equal(got, tt.want) {
			t.Errorf("%v, %v, want %v", got, err, tt.want)
		}
	}
	data, err := proto.Marshal(&registration.PluginInfo{Type: "CSIPlugin", Name: "d", Endpoint: "/e", SupportedVersions: []string{"1.0.0", "0.3.0"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readPlugin(data); err != nil || !reflect.DeepEqual(got, &Plugin{"CSIPlugin", "d", "/e", []string{"1.0.0", "0.3.0"}}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzReadPlugin(f *testing.F) {
	f.Add([]byte{0x0a, 0x01, 'n', 0x22, 0x01, 'v', 0x22, 0x00})
	f.Fuzz(func(_ *testing.T, b []byte) { readPlugin(b) })
}
