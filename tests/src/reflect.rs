//! A client that knows nothing of the API but an address: it asks for the descriptors by
//! reflection and turns JSON into messages and back by what they say, as grpcurl does.

pub(crate) mod codec;
mod message;

use futures_util::stream;
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, MethodDescriptorProto};
use serde_json::Value;
use tonic::Request;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use codec::Plain;

/// A client of one broker.
#[derive(Debug)]
pub struct Reflected {
    channel: Channel,
    files: Vec<FileDescriptorProto>,
}

impl Reflected {
    /// Connects to a broker and learns the API of `service`, such as `highwater.v1.LogService`.
    pub async fn connect(address: &str, service: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{address}"))
            .expect("an address makes a URI")
            .connect()
            .await
            .expect("a broker can be connected to");
        let symbol = MessageRequest::FileContainingSymbol(service.to_owned());
        let MessageResponse::FileDescriptorResponse(files) = ask(&channel, symbol).await else {
            panic!("the service {service} is not described");
        };
        let mut files: Vec<FileDescriptorProto> = files
            .file_descriptor_proto
            .iter()
            .map(|file| FileDescriptorProto::decode(&file[..]).expect("a descriptor can be read"))
            .collect();
        // A server may answer with the one file and leave it to the client to ask for the others.
        let mut next = 0;
        while next < files.len() {
            for import in files[next].dependency.clone() {
                if files.iter().all(|file| file.name() != import) {
                    files.push(described(&channel, import).await);
                }
            }
            next += 1;
        }
        Self { channel, files }
    }

    /// The names of the services that a broker has.
    pub async fn services(address: &str) -> Vec<String> {
        let uri = format!("http://{address}");
        let channel = Channel::from_shared(uri).expect("an address makes a URI");
        let channel = channel
            .connect()
            .await
            .expect("a broker can be connected to");
        match ask(&channel, MessageRequest::ListServices(String::new())).await {
            MessageResponse::ListServicesResponse(list) => list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect(),
            other => panic!("no list of services: {other:?}"),
        }
    }

    /// Calls a unary method, such as `highwater.v1.LogService/Produce`, in JSON.
    pub async fn call(&self, method: &str, request: Value) -> Result<Value, tonic::Status> {
        let (service, name) = method.split_once('/').expect("a method is service/name");
        let described = self.method(service, name);
        let body = message::encode(self, self.message(described.input_type()), &request);
        let path = format!("/{method}").parse().expect("a method is a path");
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready()
            .await
            .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let answer = grpc.unary(Request::new(body.into()), path, Plain).await?;
        let answer = answer.into_inner();
        Ok(message::decode(
            self,
            self.message(described.output_type()),
            &answer,
        ))
    }

    fn method(&self, service: &str, name: &str) -> &MethodDescriptorProto {
        let services = self.files.iter().flat_map(|file| {
            file.service
                .iter()
                .map(move |found| (file.package(), found))
        });
        services
            .filter(|(package, found)| format!("{package}.{}", found.name()) == service)
            .flat_map(|(_, found)| &found.method)
            .find(|method| method.name() == name)
            .unwrap_or_else(|| panic!("{service} has no method {name}"))
    }

    /// The message of this full name, which begins with a dot.
    fn message(&self, name: &str) -> &DescriptorProto {
        self.files
            .iter()
            .find_map(|file| {
                let inside = name.strip_prefix(&format!(".{}.", file.package()))?;
                nested(&file.message_type, inside)
            })
            .unwrap_or_else(|| panic!("there is no message {name}"))
    }
}

fn nested<'a>(messages: &'a [DescriptorProto], name: &str) -> Option<&'a DescriptorProto> {
    match name.split_once('.') {
        None => messages.iter().find(|message| message.name() == name),
        Some((outer, inner)) => nested(&nested(messages, outer)?.nested_type, inner),
    }
}

async fn described(channel: &Channel, file: String) -> FileDescriptorProto {
    match ask(channel, MessageRequest::FileByFilename(file.clone())).await {
        MessageResponse::FileDescriptorResponse(files) => {
            let first = files
                .file_descriptor_proto
                .first()
                .expect("a file is described");
            FileDescriptorProto::decode(&first[..]).expect("a descriptor can be read")
        }
        other => panic!("no description of {file}: {other:?}"),
    }
}

async fn ask(channel: &Channel, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question.clone()),
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(stream::iter([request])).await;
    let mut answers = answers.expect("a broker has reflection").into_inner();
    let answer: ServerReflectionResponse = answers
        .message()
        .await
        .expect("reflection answers")
        .unwrap_or_else(|| panic!("no answer to {question:?}"));
    answer
        .message_response
        .unwrap_or_else(|| panic!("an empty answer to {question:?}"))
}
