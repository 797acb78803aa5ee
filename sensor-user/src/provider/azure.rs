//! Paths of Azure `OpenAI` and AI Foundry come in; operations and deployment names go out.

use crate::provider::Dialect;
use crate::provider::anthropic;
use crate::provider::openai;
use crate::provider::route::Method;
use crate::provider::route::Route;

/// Finds the operation; a deployment in the path is what the request asks for in place of a model.
pub(super) fn route(method: Method, path: &[&str]) -> Option<Route> {
    let mut route = openai::route(method, path, Dialect::Standard)
        .or_else(|| anthropic::route(method, path))?;
    let deployments = path.iter().position(|segment| *segment == "deployments");
    let name = deployments.and_then(|at| path.get(at.checked_add(1)?));
    route.model = name.map(|name| (*name).to_owned());
    Some(route)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Operation;
    use crate::provider::Shape;

    #[test]
    fn the_deployment_is_the_model_asked_for() {
        let path = ["openai", "deployments", "prod-gpt", "chat", "completions"];
        let found = route(Method::Write, &path).unwrap();
        assert_eq!((found.operation, found.model.as_deref()), (Operation::Chat, Some("prod-gpt")));
        let v1 = route(Method::Write, &["openai", "v1", "responses"]).unwrap();
        assert_eq!((v1.shape, v1.model), (Shape::Responses(Dialect::Standard), None));
        let claude = route(Method::Write, &["anthropic", "v1", "messages"]).unwrap();
        assert_eq!(claude.shape, Shape::Messages);
    }
}
