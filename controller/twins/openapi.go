package twins

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/device/v1beta1"
)

const (
	openAPIIndex = "/openapi/v3"
	openAPIPath  = openAPIIndex + "/apis/" + groupVersion
	schemaPrefix = "io.edgekit.twins." + Version + "."
)

// jsonObject is an object of an OpenAPI document.
type jsonObject = map[string]any

// openAPI answers with the index of documents, or with the one that there is: for "kubectl explain
// twins". It asks for no right, as with any API server's.
func (s *Server) openAPI(w http.ResponseWriter, path string) error {
	doc, err := s.document()
	if err != nil {
		return err
	}
	if path == openAPIPath {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc) // a client that is gone needs no answer
		return nil
	}
	hash := fmt.Sprintf("%X", sha256.Sum256(doc))
	return writeJSON(w, http.StatusOK, jsonObject{"paths": jsonObject{
		"apis/" + groupVersion: jsonObject{"serverRelativeURL": openAPIPath + "?hash=" + hash},
	}})
}

// newDocument makes the OpenAPI document. The status is that of the DeviceStatus, as its definition
// describes it.
func newDocument() ([]byte, error) {
	status, err := statusSchema()
	if err != nil {
		return nil, fmt.Errorf("twins: the schema of a DeviceStatus: %w", err)
	}
	text := func(description string) jsonObject { return jsonObject{"type": "string", "description": description} }
	head := func(properties jsonObject) jsonObject {
		properties["apiVersion"] = text(groupVersion)
		properties["kind"] = text("The kind of the object.")
		return properties
	}
	metadata := func(description string) jsonObject { return jsonObject{"type": "object", "description": description} }
	twin := jsonObject{
		"type":        "object",
		"description": "Twin is a device with its newest values. It has the name of its Device and cannot be written: set desired values in the Device.",
		"properties": head(jsonObject{
			"metadata": metadata("Namespace, name, uid and labels are those of the Device. The resourceVersion is one of this cloudcore and no other."),
			"node":     text("The edge node that the device hangs on."),
			"received": jsonObject{"type": "string", "format": "date-time", "description": "When cloudcore received the values. Absent if it read them from the DeviceStatus."},
			"truncated": jsonObject{"type": "boolean",
				"description": "cloudcore has no room for the values: the status is empty."},
			"status": status,
		}),
		"x-kubernetes-group-version-kind": []jsonObject{kindOf("Twin")},
	}
	list := jsonObject{
		"type":        "object",
		"description": "TwinList is a list of Twins.",
		"required":    []string{"items"},
		"properties": head(jsonObject{
			"metadata": metadata("The resourceVersion is the one to watch from."),
			"items":    jsonObject{"type": "array", "description": "The twins, by namespace and name.", "items": jsonObject{"$ref": reference("Twin")}},
		}),
		"x-kubernetes-group-version-kind": []jsonObject{kindOf("TwinList")},
	}
	root := "/apis/" + groupVersion
	return json.Marshal(jsonObject{
		"openapi": "3.0.0",
		"info":    jsonObject{"title": "Live values of devices", "version": Version},
		"paths": jsonObject{
			root + "/" + Resource:                                    operation("list", "TwinList"),
			root + "/namespaces/{namespace}/" + Resource:             operation("list", "TwinList"),
			root + "/namespaces/{namespace}/" + Resource + "/{name}": operation("get", "Twin"),
		},
		"components": jsonObject{"schemas": jsonObject{schemaPrefix + "Twin": twin, schemaPrefix + "TwinList": list}},
	})
}

func reference(kind string) string { return "#/components/schemas/" + schemaPrefix + kind }

func kindOf(kind string) jsonObject {
	return jsonObject{"group": Group, "version": Version, "kind": kind}
}

// operation is the GET of a path.
func operation(action, kind string) jsonObject {
	return jsonObject{"get": jsonObject{
		"description":                     action + " twins",
		"x-kubernetes-action":             action,
		"x-kubernetes-group-version-kind": kindOf("Twin"),
		"responses": jsonObject{"200": jsonObject{"description": "OK", "content": jsonObject{
			"application/json": jsonObject{"schema": jsonObject{"$ref": reference(kind)}},
		}}},
	}}
}

// statusSchema is the schema of the status in the definition of the DeviceStatus.
func statusSchema() (jsonObject, error) {
	docs, err := v1beta1.CRDs()
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct {
						OpenAPIV3Schema struct{ Properties map[string]jsonObject }
					}
				}
			}
		}
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			return nil, err
		}
		if crd.Spec.Names.Kind != "DeviceStatus" || len(crd.Spec.Versions) == 0 {
			continue
		}
		status := crd.Spec.Versions[len(crd.Spec.Versions)-1].Schema.OpenAPIV3Schema.Properties["status"]
		if status != nil {
			return status, nil
		}
	}
	return nil, errors.New("there is none")
}
