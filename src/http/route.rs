//! A route: path, method, handler and documents, declared once beside the handler.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::http::openapi::{Audience, Operation};
use crate::http::permit::{Action, Guard, Permit};
use crate::http::state::AppState;

/// Router, OpenAPI document, gateway and the check of the `function_*` folders are made from it.
pub(crate) struct Route {
    pub(crate) audience: Audience,
    pub(crate) method: Method,
    /// As axum and the log write it.
    pub(crate) path: &'static str,
    /// The folder of the Azure function that leads to it; none for what the Functions host calls itself.
    pub(crate) function: Option<&'static str>,
    pub(crate) guard: Option<Guard>,
    pub(crate) handler: MethodRouter<AppState>,
    pub(crate) operations: Vec<Operation>,
}

impl Route {
    /// A route whose handler extracts a [`Permit`] first: its action is the route's guard.
    pub(crate) fn guarded<H, T>(operation: Operation, function: &'static str, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: GuardedBy + 'static,
    {
        let (audience, method, path) = (operation.audience, operation.method.clone(), operation.path);
        let route = Self::undocumented(audience, method, path, Some(function), handler);
        Self { guard: Some(T::GUARD), ..route }.document(operation.behind(Some(T::GUARD)))
    }

    /// A route without a guard.
    pub(crate) fn open<H, T>(path: &'static str, operations: Vec<Operation>, function: &'static str, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let route = Self::undocumented(Audience::Operation, Method::GET, path, Some(function), handler);
        operations.into_iter().fold(route, |route, operation| route.document(operation.behind(None)))
    }

    /// A route that is no part of the API.
    pub(crate) fn undocumented<H, T>(
        audience: Audience,
        method: Method,
        path: &'static str,
        function: Option<&'static str>,
        handler: H,
    ) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a method that axum routes");
        Self { audience, method, path, function, guard: None, handler: on(filter, handler), operations: Vec::new() }
    }

    /// Adds an operation to the document. [`Operation::behind`] has added what the guard and the limits answer, unless
    /// middleware answers the operation.
    pub(crate) fn document(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }
}

/// The arguments of a handler, if the first one is a permit.
pub(crate) trait GuardedBy {
    const GUARD: Guard;
}

impl<M, A: Action, B> GuardedBy for (M, Permit<A>, B) {
    const GUARD: Guard = A::GUARD;
}

impl<M, A: Action, B, C> GuardedBy for (M, Permit<A>, B, C) {
    const GUARD: Guard = A::GUARD;
}

impl<M, A: Action, B, C, D> GuardedBy for (M, Permit<A>, B, C, D) {
    const GUARD: Guard = A::GUARD;
}
